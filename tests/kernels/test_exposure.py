"""Weights that were shown come back to the training point inside a step, by the kernel as by Python."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import _exposure

SHAPES = [(3,), (), (0,), (2_500,), (41, 30)]
TOLERANCES = {"float32": 4e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 2e-2}
SHOWN = {
    "nesterov": lambda **o: tfopt.Nesterov(0.1, 0.8, **o),
    "rmsprop": lambda **o: tfopt.RMSProp(0.1, momentum=0.5, nesterov=True, centered=True, **o),
    "nadam": lambda **o: tfopt.NAdam(0.1, form="lookahead", **o),
    "rates": lambda **o: tfopt.Nesterov(0.1, 0.8, learning_rate_multipliers={"_1": 0.5}, **o),
    "average": lambda **o: tfopt.Adam(0.1, use_ema=True, ema_momentum=0.6, **o),
    "accumulation": lambda **o: tfopt.Nesterov(0.1, 0.8, gradient_accumulation_steps=2, **o),
}

pytestmark = pytest.mark.usefixtures("loaded")


def compared(optimizer):
    """Its state but for checksums of weights, which differ where the weights do in their last digit."""
    return [v for (slot, _), v in optimizer.named_state() if slot != "shown"]


@pytest.fixture(autouse=True)
def done(monkeypatch):
    """What the kernel did of it."""
    names = []
    for name in ("swap", "displace"):
        plain = getattr(_exposure, name)

        def counting(*arguments, plain=plain, name=name):
            did = plain(*arguments)
            names.extend([name] * did)
            return did

        monkeypatch.setattr(_exposure, name, counting)
    return names


def run(make, dtypes, wrap=tf.function, **options):
    """Everything after steps between which the weights were shown."""
    rng = np.random.default_rng(0)
    kinds = [(shape, dtype) for dtype in dtypes for shape in SHAPES]
    weights = [
        keras.Variable(rng.normal(size=shape), dtype=dtype, name=f"w_{i}")
        for i, (shape, dtype) in enumerate(kinds)
    ]
    optimizer = make(**options)
    optimizer.build(weights)
    step = wrap(lambda *gradients: optimizer.apply(list(gradients), weights))
    seen = []
    for k in range(6):
        step(*(tf.cast(rng.normal(size=shape) + 0.01, dtype) for shape, dtype in kinds))
        if k % 3 != 1:
            optimizer.to_evaluation_weights()
            seen.extend(v.numpy().astype("float64") for v in weights)
    return [*seen, *(v.numpy().astype("float64") for v in [*weights, *compared(optimizer)])]


def assert_same(left, right, tolerance):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shown", SHOWN)
def test_the_kernel_does_what_python_does(done, shown, dtype):
    fused = run(SHOWN[shown], [dtype])
    assert set(done) == {"swap" if shown == "average" else "displace"}
    assert_same(fused, run(SHOWN[shown], [dtype], fused=False), TOLERANCES[dtype])
    assert len(done) == 1  # traced once, by the fused run alone


@pytest.mark.parametrize("shown", ["nesterov", "average"])
@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "graph"])
def test_all_types_at_once(shown, wrap):
    fused = run(SHOWN[shown], TOLERANCES, wrap)
    assert_same(fused, run(SHOWN[shown], TOLERANCES, wrap, fused=False), TOLERANCES["bfloat16"])


def test_xla_leaves_it_to_python(done, lowering):
    compiled = lambda step: tf.function(step, jit_compile=True)  # noqa: E731
    fused = run(SHOWN["nesterov"], ["float32"], compiled)
    assert done == []
    assert_same(fused, run(SHOWN["nesterov"], ["float32"], fused=False), TOLERANCES["float32"])


# -- What the ops refuse ---------------------------------------------------------------------------------


class Call:
    """Two weights and their velocities under Nesterov's momentum."""

    def __init__(self, loaded):
        self.ops = loaded.kernels["nesterov"].ops
        self.variables = [tf.Variable(tf.ones(3)) for _ in range(4)]
        self.bundle = self.bundled(self.variables)

    def bundled(self, variables):
        self.kept = variables
        return self.ops.tfopt_bundle(variables=[v.handle for v in variables])

    def displace(self, **changed):
        good = dict(
            bundle=self.bundle,
            scalars=tf.constant([[0.5, 0.1]], tf.float64),
            rule="nesterov",
            groups=[0, 0],
            N=2,
            S=2,
            T=tf.float32,
        )
        self.ops.tfopt_displace_bundled(**{**good, **changed})

    def swap(self, **changed):
        self.ops.tfopt_swap_bundled(**{**dict(bundle=self.bundle, N=2, T=tf.float32), **changed})


def of(*shapes, dtype=tf.float32):
    return [tf.Variable(tf.ones(shape, dtype)) for shape in shapes]


BOTH = {
    "a variable for a bundle": lambda call: {"bundle": call.variables[0].handle},
    "another type": lambda call: {"T": tf.float64},
    "more weights": lambda call: {"N": 3},
    "shapes": lambda call: {"bundle": call.bundled(of(3, 3, 3, 4))},
    "types": lambda call: {"bundle": call.bundled(of(3, 3, 3, 3, dtype=tf.int32))},
}
SPOILT = {
    **{("swap", how): change for how, change in BOTH.items()},
    **{("displace", how): change for how, change in BOTH.items()},
    ("displace", "a rule that does not look ahead"): lambda call: {"rule": "momentum"},
    ("displace", "no such rule"): lambda call: {"rule": "newton"},
    ("displace", "slots"): lambda call: {"S": 4},
    ("displace", "few groups"): lambda call: {"groups": [0]},
    ("displace", "group too high"): lambda call: {"groups": [0, 1]},
    ("displace", "group below 0"): lambda call: {"groups": [-1, 0]},
    ("displace", "scalars"): lambda call: {"scalars": tf.ones((1, 3), tf.float64)},
    ("displace", "scalars' rank"): lambda call: {"scalars": tf.ones(2, tf.float64)},
    ("displace", "NaN"): lambda call: {"scalars": tf.fill((1, 2), tf.constant(np.nan, tf.float64))},
}


@pytest.mark.parametrize("how", SPOILT, ids=" ".join)
def test_bad_input_is_refused_and_changes_nothing(loaded, how):
    call = Call(loaded)
    changed = SPOILT[how](call)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        getattr(call, how[0])(**changed)
    assert {float(x) for v in [*call.variables, *call.kept] for x in v.numpy()} == {1.0}


def test_good_input_is_taken(loaded):
    call = Call(loaded)
    call.displace()
    assert [v.numpy().tolist() for v in call.variables] == [[1.5] * 3] * 2 + [[1.0] * 3] * 2
    call.swap()
    assert [v.numpy().tolist() for v in call.variables] == [[1.0] * 3] * 2 + [[1.5] * 3] * 2
