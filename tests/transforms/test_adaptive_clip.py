"""AdaptiveClip: against NumPy, at the cliff, around every kind of optimizer, and saved."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.transforms import AdaptiveClip

SHAPES = [(3, 4), (4,), (2, 2, 3, 5), ()]


def start(seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape)) for shape in SHAPES]


def gradients(t):
    """Units of very different size, one of zero."""
    rng = np.random.default_rng(100 + t)
    made = [
        np.asarray(rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3, size=shape[-1:])) for shape in SHAPES
    ]
    made[0][:, 1] = 0.0
    return made


def clipped(gradient, weight, clipping, floor):
    """The paper's rule, unit by unit, in float64."""
    flat = lambda a: a.reshape(-1, a.shape[-1]) if a.ndim > 1 else a.reshape(-1, 1)  # noqa: E731
    columns = []
    for g, w in zip(flat(gradient).T, flat(weight).T, strict=True):
        bound = clipping * max(np.linalg.norm(w), floor)
        length = np.linalg.norm(g)
        columns.append(g * bound / length if length > bound else g)
    return np.stack(columns, axis=1).reshape(gradient.shape)


def reference(steps, clipping, floor, decay=0.0, rate=0.5):
    weights = start()
    weights[1] *= 0
    for t in range(steps):
        weights = [w * (1 - rate * decay) for w in weights]
        rows = list(zip(gradients(t), weights, strict=True))
        weights = [w - rate * clipped(g, w, clipping, floor) for g, w in rows]
    return weights


def run(optimizer, steps=6):
    variables = [keras.Variable(w, dtype="float64", name=f"w{i}") for i, w in enumerate(start())]
    variables[1].assign(tf.zeros((4,), tf.float64))
    for t in range(steps):
        optimizer.apply([tf.constant(g) for g in gradients(t)], variables)
    return [v.numpy() for v in variables]


def assert_close(found, wanted, tolerance=1e-12):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("clipping", "floor"), [(0.1, 1e-3), (2.0, 0.5), (1e9, 1e-3)])
def test_equals_the_papers_rule(clipping, floor):
    found = run(AdaptiveClip(tfopt.SGD(0.5), clipping, floor))
    assert_close(found, reference(6, clipping, floor))


def test_the_norm_is_that_of_decayed_weights():
    found = run(AdaptiveClip(tfopt.SGD(0.5, weight_decay=0.3), 0.1))
    assert_close(found, reference(6, 0.1, 1e-3, decay=0.3))


def test_a_loose_bound_is_the_inner_optimizer():
    assert_close(run(AdaptiveClip(tfopt.Adam(0.1), 1e12)), run(tfopt.Adam(0.1)))


def test_excluded_weights_are_left_alone():
    found = run(AdaptiveClip(tfopt.SGD(0.5), 0.1, exclude=["w[02]"]))
    plain, tight = run(tfopt.SGD(0.5)), reference(6, 0.1, 1e-3)
    assert_close(found, [plain[0], tight[1], plain[2], tight[3]])


def cliff(w, steps=30):
    """What a linear recurrence h ← wh makes of 1 in 30 steps: flat for |w| < 1, a wall beyond."""
    return (w**steps - 0.7) ** 2


def descend(optimizer, first=1.25, steps=300):
    weight = keras.Variable([[first]], dtype="float64")
    furthest = first
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = cliff(weight.value[0, 0])
        optimizer.apply([tape.gradient(loss, weight.value)], [weight])
        furthest = max(furthest, abs(float(weight.numpy()[0, 0])))
        if furthest > 1e6:
            break
    return furthest, float(weight.numpy()[0, 0])


def test_at_the_cliff():
    assert descend(tfopt.SGD(0.05))[0] > 1e4
    furthest, last = descend(AdaptiveClip(tfopt.SGD(0.05), clipping=0.1))
    assert furthest == 1.25
    assert last == pytest.approx(0.7 ** (1 / 30), abs=0.01)


def trained(optimizer, strategy=None, **options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4)).astype("float32")
    y = x @ rng.normal(size=(4, 1)).astype("float32")
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(1, name="head")]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile(optimizer(), "mse", **options)
    model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return model


def make():
    return AdaptiveClip(tfopt.Nesterov(0.1, momentum=0.5, clipnorm=5.0), 0.02, exclude=["head"])


@pytest.mark.slow
def test_xla_changes_nothing_and_clipping_much():
    plain = trained(make, jit_compile=False)
    assert_close(trained(make, jit_compile=True).get_weights(), plain.get_weights(), 2e-5)
    inner = trained(lambda: tfopt.Nesterov(0.1, momentum=0.5, clipnorm=5.0))
    assert np.abs(inner.get_weights()[0] - plain.get_weights()[0]).max() > 1e-2


@pytest.mark.slow
def test_two_replicas_and_eager_steps_agree_with_one(strategy):
    plain = trained(make)
    for other in (trained(make, run_eagerly=True), trained(make, strategy)):
        assert_close(other.get_weights(), plain.get_weights(), 2e-5)


def test_within_and_around_other_wrappers():
    for optimizer in (
        tfopt.PolyakAverage(AdaptiveClip(tfopt.SGD(0.5), 0.1)),
        AdaptiveClip(tfopt.PolyakAverage(tfopt.SGD(0.5)), 0.1),
        AdaptiveClip(tfopt.BlockCoordinateDescent(tfopt.SGD(0.5), blocks=["."]), 0.1),
    ):
        assert_close(run(optimizer), reference(6, 0.1, 1e-3))


def test_saved_and_continued(tmp_path):
    model = trained(make)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    x = np.random.default_rng(3).normal(size=(16, 4))
    for one in (model, again):
        one.fit(x, x[:, :1], batch_size=8, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clipping": 0}, r"AdaptiveClip\(clipping=0\): expected a finite number with clipping > 0"),
        ({"floor": -1.0}, r"floor=-1.0"),
        ({"exclude": "head"}, r"exclude='head'\): expected a list of regular expressions"),
        ({"exclude": ["("]}, "exclude"),
        ({"inner": keras.optimizers.SGD()}, "expected a tfopt optimizer that has not been built"),
        ({"inner": tfopt.LBFGS()}, "expected an optimizer without a line search"),
        ({"clipnorm": 1.0}, "expected options of the update on the inner optimizer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveClip(**{"inner": tfopt.SGD()} | arguments)
