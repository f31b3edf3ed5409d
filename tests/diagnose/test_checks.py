"""Each diagnostic's section: what was planted is found, and only that."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import analysis
from tfopt.diagnose import checks

RNG = np.random.default_rng(1)
X = RNG.normal(size=(24, 3)).astype("float32")
TARGETS = (X @ np.array([[1.0], [2.0], [-1.0]], "float32")).astype("float32")


def subject(model, data, **settings):
    chosen = dict(batch=8, samples=None, rate=0.01, steps=8) | settings
    return checks.Subject(model, (*data, None), **chosen)


def linear(*sizes, start="zeros", loss="mse"):
    """Linear layers of those sizes, the last of one unit, from zero or given weights."""
    dense = [keras.layers.Dense(size, use_bias=False, kernel_initializer=start) for size in (*sizes, 1)]
    model = keras.Sequential([keras.Input((3,)), *dense])
    model.compile("sgd", loss, jit_compile=False)
    return model


def names(section):
    return [finding.name for finding in section.findings]


def test_a_noise_scale_far_above_the_batch_is_a_finding():
    model = linear(loss=lambda y, z: z)  # the gradient of a sample is its x
    data = ((0.5 + X).astype("float32"), TARGETS)
    scale = analysis.gradient_noise_scale(model, *data).noise_scale
    assert 4 < scale < 100
    small, large = (checks.noise(subject(model, data, batch=batch)) for batch in (1, math.ceil(scale)))
    assert names(small) == ["noisy gradient"]
    assert names(large) == []
    assert dict(large.facts)["Noise scale"] == f"{scale:.3g} samples"


@pytest.mark.parametrize(("factor", "raises"), [(0.5, False), (1.5, True)])
def test_a_learning_rate_above_the_critical_one_raises_the_loss(factor, raises):
    model = linear()
    critical = analysis.gradient_curvature(model, X, TARGETS, learning_rate=0.1).critical_rate
    section = checks.steepness(subject(model, (X, TARGETS), rate=factor * critical))
    assert bool(section.findings) is raises
    facts = dict(section.facts)
    assert facts["Learning rate ε"] == f"{factor * critical:.3g}"
    predicted, actual = (float(part.split()[0]) for part in facts["Change of the loss by −εg"].split(", "))
    assert (predicted > 0) is (actual > 0) is raises


@pytest.mark.parametrize(
    ("model", "found"),
    [
        # A product of two layers has a saddle where both are zero; a single one nothing but its minimum.
        (lambda: linear(1), ["saddle point"]),
        (lambda: linear(start=lambda shape, dtype: np.array([[1.0], [2.0], [-1.0]])), []),
        (lambda: linear(1, loss=lambda y, z: 0 * z), ["flat region"]),
    ],
)
def test_the_kind_of_point_is_named(model, found):
    section = checks.spectrum(subject(model(), (X, TARGETS)))
    assert names(section) == found


def test_the_spectrum_is_that_of_the_quadratic():
    section = checks.spectrum(subject(linear(), (X, TARGETS)))
    exact = np.linalg.eigvalsh(2 * X.T.astype("float64") @ X / len(X))
    np.testing.assert_allclose(sorted(section.pictures[0].values), exact, rtol=1e-4)
    facts = dict(section.facts)
    assert facts["Condition number"] == f"{exact[-1] / exact[0]:.3g} at least"
    assert facts["Largest ε along the steepest direction, 2/λ"] == f"{2 / exact[-1]:.3g}"


def recurrent(wrap=lambda layer: layer, scale=0.2):
    start = keras.initializers.Identity(scale)
    cell = keras.layers.SimpleRNN(4, recurrent_initializer=start, activation="linear", name="rnn")
    model = keras.Sequential([keras.Input((9, 3)), wrap(cell), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


def test_vanishing_through_time_is_measured_where_it_can_be():
    data = (RNG.normal(size=(6, 9, 3)).astype("float32"), np.ones((6, 1), "float32"))
    section = checks.flow(subject(recurrent(), data))
    assert names(section) == ["vanishing gradient through the time of rnn"]
    (factor,) = (text for name, text in section.facts if name == "Through time, rnn")
    assert factor.startswith(f"factor {0.2**8:.3g}")
    assert ("Spectral radius at rest, rnn", "0.2") in section.facts


class Unrolled(keras.layers.Layer):
    """Runs the cell of a recurrent layer itself, so that nothing sees its states."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, shape):
        self.layer.build(shape)

    def call(self, x):
        state = [tf.zeros((tf.shape(x)[0], 4))]
        for step in range(x.shape[1]):
            output, state = self.layer.cell(x[:, step], state)
        return output


def test_where_no_state_was_seen_the_spectral_radius_speaks():
    data = (RNG.normal(size=(6, 9, 3)).astype("float32"), np.ones((6, 1), "float32"))
    section = checks.flow(subject(recurrent(Unrolled), data))
    assert names(section) == ["vanishing recurrence in rnn"]


def test_identical_units_are_counted():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, kernel_initializer="ones"), keras.layers.Dense(1)]
    )
    model.layers[-1].kernel.assign(np.ones((4, 1)))
    model.compile("sgd", "mse")
    section = checks.identical(subject(model, (X, TARGETS)))
    assert dict(section.facts)["Groups of identical units"] == "1"
    assert len(section.findings) == 1


def test_the_zero_one_error_stands_beside_the_loss():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, "softmax", kernel_initializer="zeros")]
    )
    model.layers[-1].bias.assign([0.0, 1.0])
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.array([0] * 6 + [1] * 18)
    facts = dict(checks.surrogate(subject(model, (X, labels))).facts)
    assert facts["0–1 error"] == "25.0 %"
    share = 1 / (1 + np.e)  # of class 0
    expected = (6 * (1 - share) + 18 * share) / 24
    assert facts["Expected 0–1 error, norm of its gradient"].startswith(f"{expected:.4g},")


@pytest.mark.parametrize(
    ("optimizer", "given", "rate"),
    [
        ("sgd", 0.3, 0.3),
        (keras.optimizers.SGD(0.25), None, 0.25),
        (keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)), None, 0.5),
        (tfopt.PolyakAverage(tfopt.SGD(0.2)), None, 0.2),
        (tfopt.LBFGS(), None, 0.01),
        (tfopt.BlockCoordinateDescent(tfopt.LBFGS()), None, 0.01),
        (tfopt.BlockCoordinateDescent(tfopt.SGD(0.2)), None, 0.2),
        (keras.optimizers.SGD(0.0), None, 0.01),
    ],
)
def test_the_learning_rate_judged_by(optimizer, given, rate):
    model = linear()
    model.compile(optimizer, "mse")
    assert checks.learning_rate_of(model, given) == pytest.approx(rate)


def test_a_product_is_taken_once():
    operator = tfopt.curvature.hessian_operator(linear(), X, TARGETS)
    taken = []

    class Counted:
        shape, dtype = operator.shape, operator.dtype
        gradient = operator.gradient

        def __matmul__(self, vector):
            taken.append(vector)
            return operator @ vector

    remembered = checks.Remembered(Counted())
    one, two = np.ones(3, "float32"), np.arange(3, dtype="float32")
    for vector in (one, two, one, two):
        np.testing.assert_array_equal(remembered @ vector, operator @ vector)
    assert len(taken) == 2
