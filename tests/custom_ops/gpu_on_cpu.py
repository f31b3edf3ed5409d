"""The ops' kernels for GPUs, registered on the CPU: optimizers and normalisation against their Python paths.

``python gpu_on_cpu.py LIBRARY`` prints the number of comparisons; a difference raises.
"""

import ctypes
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import layers
from tfopt.kernels import _exposure, fused_update, global_norm, library, registry
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

LAYERS = {
    "layer": (lambda **o: layers.LayerNormalization(**o), (9, 200)),
    "layer, long": (lambda **o: layers.LayerNormalization(axis=(1, 2), **o), (3, 5, 2000)),
    "layer, odd": (lambda **o: layers.LayerNormalization(**o), (5, 7, 333)),
    "layer, few parameters": (
        lambda **o: layers.LayerNormalization(axis=(1, 2), scale_shape="channel", **o),
        (4, 900, 12),
    ),
    "without parameters": (
        lambda **o: layers.LayerNormalization(center=False, scale=False, **o),
        (4, 60),
    ),
    "group": (lambda **o: layers.GroupNormalization(4, **o), (3, 9, 8, 24)),
    "group first": (lambda **o: layers.GroupNormalization(2, axis=1, **o), (3, 6, 40, 50)),
    "group, element": (lambda **o: layers.GroupNormalization(2, scale_shape="element", **o), (3, 9, 8, 6)),
    "instance": (lambda **o: layers.InstanceNormalization(**o), (3, 20, 20, 5)),
    "batch": (lambda **o: layers.BatchNormalization(**o), (6, 30, 20, 16)),
    "batch first": (lambda **o: layers.BatchNormalization(axis=1, **o), (6, 5, 30, 20)),
    "batch, unit": (lambda **o: layers.BatchNormalization(per="unit", **o), (40, 3, 70)),
    "empty": (lambda **o: layers.LayerNormalization(**o), (0, 5)),
}
LAYER_TOLERANCES = {"float32": 3e-6, "mixed_float16": 2e-3, "mixed_bfloat16": 1e-2}


def load(path):
    """The kernels of the library at `path`, in place of tfopt's own."""
    ops, native = tf.load_op_library(path), ctypes.CDLL(path)
    native.tfopt_cuda_rules.restype = ctypes.c_char_p
    for line in native.tfopt_cuda_rules().decode().splitlines():
        kernel = FusedUpdate.parse(line, ops, "gpu", False, True)
        registry.register(kernel.rule, kernel)
    library.load = lambda: library.Library(ops=ops)
    # Off the CPU variables come as lists.
    for user in (_exposure, fused_update, global_norm):
        user.bundle_of = lambda make, variables: None
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
    # Checksums of weights differ where the weights do in their last digit.
    compared = [v for (slot, _), v in optimizer.named_state() if slot != "shown"]
    return [v.numpy().astype("float64") for v in [*weights, *compared]]


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


def train(make, shape, policy, fused):
    """What a layer gives in training, its derivatives, and what it keeps."""
    rng = np.random.default_rng(0)
    layer = make(fused=fused, dtype=policy)
    layer.build(shape)
    for weight in layer.trainable_variables:
        weight.assign(rng.normal(1.0, 0.5, weight.shape))

    @tf.function
    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        weights = [weight.value for weight in layer.trainable_variables]
        return y, *tape.gradient(y, [x, *weights], output_gradients=upstream)

    x, upstream = (tf.constant(rng.normal(mean, 1.5, shape), layer.compute_dtype) for mean in (2.0, 0.0))
    nodes = step.get_concrete_function(x, upstream).graph.as_graph_def()
    inside = {node.op for function in nodes.library.function for node in function.node_def}
    assert ("TfoptNormalize" in inside | {node.op for node in nodes.node}) == fused
    before = upstream.numpy()
    found = step(x, upstream)
    np.testing.assert_array_equal(upstream, before)
    return [np.asarray(part, np.float64) for part in [*found, *layer.variables]]


def compare_layers():
    """The number of comparisons made."""
    made = 0
    for name, (make, shape) in LAYERS.items():
        for policy, tolerance in LAYER_TOLERANCES.items():
            left, right = (train(make, shape, policy, fused) for fused in (True, False))
            for a, b in zip(left, right, strict=True):
                bound = tolerance * max(1.0, np.abs(b).max(initial=0.0))
                np.testing.assert_allclose(a, b, 0, bound, err_msg=f"{name} {policy}")
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


def check_layer_refusals(ops):
    """What the kernels for normalisation do not take."""
    x, four, groups = tf.ones((2, 3, 2, 2)), tf.ones(4), tf.ones((2, 2))
    both = {"x": x, "gamma": four, "run": 1, "epsilon": 0.1}
    given, back = both | {"beta": four}, both | {"upstream": x, "mean": groups, "variance": groups}
    ops.tfopt_normalize(**given)
    ops.tfopt_normalize_backward(**back)
    refused = (tf.errors.InvalidArgumentError, ValueError)
    for text, change in {
        "4 axes": {"x": tf.ones((2, 3, 4))},
        "vector": {"gamma": tf.ones((2, 2))},
        "beta": {"beta": tf.ones(3)},
        "straddle": {"gamma": tf.ones(3), "beta": tf.ones(3)},
        "whole number": {"gamma": tf.ones(24), "beta": tf.ones(24)},
        "epsilon": {"epsilon": -1.0},
    }.items():
        expect(refused, text, lambda w=given | change: ops.tfopt_normalize(**w))
    for text, change in {
        "upstream": {"upstream": tf.ones((2, 3, 2, 1))},
        "mean": {"mean": tf.ones((2, 1))},
        "variance": {"variance": tf.ones(4)},
        "epsilon": {"epsilon": -1.0},
    }.items():
        expect(refused, text, lambda w=back | change: ops.tfopt_normalize_backward(**w))


if __name__ == "__main__":
    loaded = load(sys.argv[1])
    check_refusals(loaded)
    check_layer_refusals(loaded)
    print(compare(), compare_layers())
