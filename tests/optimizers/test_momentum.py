"""Momentum: reference, terminal velocity, peer, arguments."""

import itertools

import keras
import numpy as np
import pytest

import tfopt

RATE = np.float64(np.float32(0.01))


def reference(theta, gradient, alpha=lambda t: 0.9, rate=lambda t: RATE, *, damped=False, scaled_late=False):
    v = np.zeros_like(theta)
    for t in itertools.count(1):
        g = gradient(t, theta)
        if scaled_late:
            v = alpha(t) * v - g
            theta = theta + rate(t) * v
        else:
            v = alpha(t) * v - rate(t) * g * (1 - alpha(t) if damped else 1)
            theta = theta + v
        yield theta, {"velocity": v}


def test_equals_the_reference(drive, start, gradients, assert_equal):
    assert_equal(drive(tfopt.Momentum(0.01), start, gradients), reference(start, gradients))


def test_momentum_may_be_a_schedule(drive, start, gradients, momentum_schedule, assert_equal, assert_differs):
    schedule, alpha = momentum_schedule
    run = drive(tfopt.Momentum(0.01, momentum=schedule), start, gradients)
    assert_equal(run, reference(start, gradients, alpha))
    assert_differs(run, reference(start, gradients, lambda t: alpha(t + 1)))


def test_a_changed_rate_acts_on_new_gradients_only(drive, start, gradients, assert_equal, assert_differs):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([4], [0.5, 0.0625])
    run = drive(tfopt.Momentum(schedule), start, gradients)

    def rate(t):
        return 0.5 if t <= 5 else 0.0625

    assert_equal(run, reference(start, gradients, rate=rate))
    assert_differs(run, reference(start, gradients, rate=rate, scaled_late=True))


@pytest.fixture(scope="module")
def usual(drive, start, gradients):
    """The run with the default arguments, to hold wrong formulas against."""
    return drive(tfopt.Momentum(0.01), start, gradients)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(alpha=lambda t: 0.9 + 1e-6),
        dict(alpha=lambda t: 0.9 if t > 2 else 0.0),
        dict(damped=True),
        dict(scaled_late=True),
    ],
    ids=["alpha", "off_by_one", "damped", "velocity_of_gradients"],
)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    assert_differs(usual, reference(start, gradients, **wrong))


def test_fit_equals_the_reference(least_squares, assert_equal):
    run = least_squares.fit(tfopt.Momentum(0.01))
    assert_equal(run, reference(run.start, least_squares.gradient))


def test_equals_keras_sgd_with_momentum(drive, drive_keras, start, gradients):
    ours = drive(tfopt.Momentum(0.01, momentum=0.75), start, gradients).iterates
    theirs = drive_keras(keras.optimizers.SGD(0.01, momentum=0.75), start, gradients)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_a_constant_gradient_reaches_the_terminal_velocity(alpha, drive):
    g = np.array([3.0, -0.02, 40.0])
    run = drive(tfopt.Momentum(0.01, momentum=alpha), np.zeros(3), lambda t, point: g, steps=120)
    lengths = np.linalg.norm(np.diff([run.start, *run.iterates], axis=0), axis=1)
    limit = RATE * np.linalg.norm(g) / (1 - alpha)
    t = np.arange(1, 121)
    np.testing.assert_allclose(lengths, limit * (1 - alpha**t), rtol=1e-9)
    assert lengths[-1] == pytest.approx(limit, rel=1e-5)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("momentum", float("nan")),
        ("momentum", "big"),
        ("momentum", abs),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.Momentum, argument, value)
