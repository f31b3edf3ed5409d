"""DeltaBarDelta: reference, growth and shrinkage of the rates, what they buy on a full batch."""

import itertools

import keras
import numpy as np
import pytest

import tfopt

RATE = np.float64(np.float32(0.01))


def reference(
    theta, gradient, kappa=1e-3, phi=0.1, decay=0.7, rate=lambda t: RATE, *, late=False, last=False
):
    """Jacobs' rates ε_w as such; a schedule scales them all."""
    rates, trace = np.full_like(theta, rate(1)), np.zeros_like(theta)
    for t in itertools.count(1):
        g = gradient(t, theta)
        rates = rates * rate(t) / rate(max(t - 1, 1))
        used = rates
        rates = np.select([trace * g > 0, trace * g < 0], [rates + kappa, rates * (1 - phi)], rates)
        theta = theta - (used if late else rates) * g
        trace = g if last else (1 - decay) * g + decay * trace
        yield theta, {"gain": rates / rate(t), "trace": trace}


SETTINGS = [{}, dict(kappa=0.02), dict(phi=0.5), dict(theta=0.0), dict(kappa=0.1, phi=0.0, theta=0.95)]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_equals_the_reference(setting, drive, start, gradients, assert_equal):
    run = drive(tfopt.DeltaBarDelta(0.01, **setting), start, gradients)
    expected = {("decay" if key == "theta" else key): value for key, value in setting.items()}
    assert_equal(run, reference(start, gradients, **expected))


def test_a_schedule_scales_all_rates_and_leaves_their_growth(drive, start, gradients, assert_equal):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([4], [0.5, 0.0625])
    run = drive(tfopt.DeltaBarDelta(schedule, kappa=0.1), start, gradients)
    assert_equal(run, reference(start, gradients, 0.1, rate=lambda t: 0.5 if t <= 5 else 0.0625))


@pytest.fixture(scope="module")
def usual(drive, start, gradients):
    """The run with the default arguments, to hold wrong formulas against."""
    return drive(tfopt.DeltaBarDelta(0.01), start, gradients)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(kappa=1.001e-3),
        dict(phi=0.1001),
        dict(decay=0.7001),
        dict(decay=0.3),
        dict(late=True),
        dict(last=True),
    ],
    ids=["kappa", "phi", "theta", "one_minus_theta", "rate_of_the_step_before", "sign_of_the_last_gradient"],
)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    assert_differs(usual, reference(start, gradients, **wrong))


def test_fit_equals_the_reference(least_squares, assert_equal):
    run = least_squares.fit(tfopt.DeltaBarDelta(0.01, kappa=0.02), steps=15)
    assert_equal(run, reference(run.start, least_squares.gradient, 0.02))


def test_rates_grow_by_addition_and_shrink_by_a_factor(drive):
    # One weight keeps its sign, one flips at every step and has no memory (ϑ = 0).
    def gradient(t, point):
        return np.array([2.0, 2.0 * (-1.0) ** t])

    run = drive(tfopt.DeltaBarDelta(0.01, kappa=0.003, phi=0.2, theta=0.0), np.zeros(2), gradient)
    rates = np.abs(np.diff([run.start, *run.iterates], axis=0)) / 2.0
    t = np.arange(12)
    np.testing.assert_allclose(rates[:, 0], RATE + 0.003 * t, rtol=1e-9)
    np.testing.assert_allclose(rates[:, 1], RATE * 0.8**t, rtol=1e-9)


def test_beats_descent_where_the_full_batch_is_badly_scaled(drive):
    h = np.array([1.0, 1e-1, 1e-2, 1e-3])

    def loss_after(optimizer):
        theta = drive(optimizer, np.ones(4), lambda t, point: h * point, steps=150).iterates[-1]
        return np.sum(h * theta**2)

    adapted = loss_after(tfopt.DeltaBarDelta(0.5, kappa=0.5))
    assert adapted < 0.1 * loss_after(tfopt.SGD(0.5))


def test_the_docstring_warns_about_minibatches():
    text = tfopt.DeltaBarDelta.__doc__
    assert "Warning" in text
    assert "minibatches" in text
    assert "full batch" in text


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("kappa", 0.0),
        ("kappa", float("nan")),
        ("phi", 1.0),
        ("phi", -0.1),
        ("theta", 1.0),
        ("theta", "0.5"),
        ("learning_rate", 0.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.DeltaBarDelta, argument, value)
