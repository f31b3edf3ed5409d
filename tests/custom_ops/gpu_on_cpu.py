"""Optimizers that update by the op's kernel for GPUs, registered on the CPU, against their Python rules.

``python gpu_on_cpu.py LIBRARY`` prints the number of comparisons; a difference raises.
"""

import ctypes
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import library, registry
from tfopt.kernels.fused_update import FusedUpdate

OPTIMIZERS = {
    "sgd": lambda **o: tfopt.SGD(0.1, **o),
    "nesterov": lambda **o: tfopt.Nesterov(0.1, 0.9, **o),
    "delta_bar_delta": lambda **o: tfopt.DeltaBarDelta(0.1, **o),
    "rmsprop_centered_momentum": lambda **o: tfopt.RMSProp(0.1, momentum=0.5, centered=True, **o),
    "adam": lambda **o: tfopt.Adam(0.1, **o),
    "amsgrad": lambda **o: tfopt.AMSGrad(0.1, **o),
    "nadam_lookahead": lambda **o: tfopt.NAdam(0.1, form="lookahead", **o),
}
OPTIONS = {
    "plain": {},
    "decay": {
        "weight_decay": 0.1,
        "weight_decay_exclude": ["_1$"],
        "learning_rate_multipliers": {"_0": 0.25},
    },
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.5, "skip_nonfinite": True},
    "clipvalue": {"clipvalue": 0.3},
    "accumulation": {"gradient_accumulation_steps": 2, "loss_scale_factor": 4.0},
    "average": {"use_ema": True, "ema_momentum": 0.6},
}
TOLERANCES = {"float32": 4e-6, "float64": 1e-12, "float16": 2e-3, "bfloat16": 2e-2}
SHAPES = [(0,), (), (1,), (17,), (31, 67), (4097,)]


def load(path):
    """The kernels of the library at `path`, in place of tfopt's own."""
    ops, native = tf.load_op_library(path), ctypes.CDLL(path)
    native.tfopt_cuda_rules.restype = ctypes.c_char_p
    for line in native.tfopt_cuda_rules().decode().splitlines():
        kernel = FusedUpdate.parse(line, ops, "gpu", False, True)
        registry.register(kernel.rule, kernel)
    library.load = lambda: library.Library()
    return ops


def run(make, dtype, fused, options):
    """All that an optimizer leaves behind after a few steps."""
    rng = np.random.default_rng(0)
    weights = [
        keras.Variable(rng.normal(size=shape), dtype=dtype, name=f"w_{i}") for i, shape in enumerate(SHAPES)
    ]
    optimizer = make(fused=fused, **options)
    optimizer.build(weights)
    step = tf.function(lambda *gradients: optimizer.apply(list(gradients), weights))
    for _ in range(4):
        held = tf.convert_to_tensor(weights[3].value)
        before = held.numpy()
        step(*(tf.cast(rng.normal(size=shape) + 0.01, dtype) for shape in SHAPES))
        np.testing.assert_array_equal(held.numpy(), before)
    optimizer.to_evaluation_weights()
    return [v.numpy().astype("float64") for v in [*weights, *optimizer.variables]]


def compare():
    """The number of comparisons made."""
    made = 0
    for rule, make in OPTIMIZERS.items():
        for dtype, tolerance in TOLERANCES.items():
            for name, options in OPTIONS.items():
                if name == "average" and rule in ("nesterov", "nadam_lookahead"):
                    continue
                left, right = (run(make, dtype, fused, options) for fused in (True, False))
                for a, b in zip(left, right, strict=True):
                    np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=f"{rule} {dtype} {name}")
                made += 1
    return made


def expect(error, text, call):
    """Require that `call` raises an error that names `text`."""
    with pytest.raises(error, match=text):
        call()


def check_refusals(ops):
    """What the kernel does not take."""
    weight, slot = tf.Variable(tf.ones((3, 2))), tf.Variable(tf.ones((3, 2)))
    one = tf.constant([1.0], tf.float64)
    given = {
        "weights": [weight.handle],
        "slots": [],
        "averages": [],
        "accumulators": [],
        "gradients": [tf.ones((3, 2))],
        "rows": [],
        "scalars": one[None],
        "following": tf.zeros((0, 0), tf.float64),
        "keep": one,
        "factors": one[0],
        "bound": one[0],
        "average_rate": one[0],
        "rule": "sgd",
        "groups": [0],
        "sparse": [],
        "T": tf.float32,
    }
    ops.tfopt_fused_update(**given)
    rows = given | {"gradients": [tf.ones((1, 2))], "rows": [tf.constant([1], tf.int64)], "sparse": [0]}
    expect(tf.errors.UnimplementedError, "dense", lambda: ops.tfopt_fused_update(**rows))
    refused = tf.errors.InvalidArgumentError
    for argument, value in {
        "scalars": one,
        "keep": one * np.nan,
        "slots": [slot.handle],
        "rule": "none",
    }.items():
        wrong = given | {argument: value}
        expect(
            refused, argument if argument != "rule" else "none", lambda w=wrong: ops.tfopt_fused_update(**w)
        )
    np.testing.assert_array_equal(weight.numpy(), np.zeros((3, 2)))


if __name__ == "__main__":
    check_refusals(load(sys.argv[1]))
    print(compare())
