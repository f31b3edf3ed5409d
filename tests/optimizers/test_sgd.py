"""SGD: reference, the 1/k law under decaying rates, peer, arguments."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

RATE = np.float64(np.float32(0.01))


def reference(theta, gradient, rate=lambda t: RATE):
    for t in itertools.count(1):
        theta = theta - rate(t) * gradient(t, theta)
        yield theta, {}


def test_equals_the_reference(drive, start, gradients, assert_equal):
    assert_equal(drive(tfopt.SGD(0.01), start, gradients), reference(start, gradients))


@pytest.fixture(scope="module")
def usual(drive, start, gradients):
    """The run with the default arguments, to hold wrong formulas against."""
    return drive(tfopt.SGD(0.01), start, gradients)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: -RATE,
        lambda t: RATE * (1 + 1e-5),
        lambda t: RATE / t**1e-5,
    ],
    ids=["ascent", "rate", "decay"],
)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    assert_differs(usual, reference(start, gradients, wrong))


def test_a_schedule_counts_updates_from_0(drive, start, gradients, assert_equal, assert_differs):
    optimizer = tfopt.SGD(tfopt.schedules.RobbinsMonro(0.5, tau=4.0))
    run = drive(optimizer, start, gradients)

    def rate(k):
        return np.float64(np.float32(0.5 / (1 + k / 4.0)))

    assert_equal(run, reference(start, gradients, lambda t: rate(t - 1)))
    assert_differs(run, reference(start, gradients, rate))


def test_fit_equals_the_reference(least_squares, assert_equal):
    run = least_squares.fit(tfopt.SGD(0.01))
    assert_equal(run, reference(run.start, least_squares.gradient))


def test_equals_keras(drive, drive_keras, start, gradients):
    ours = drive(tfopt.SGD(0.01), start, gradients).iterates
    theirs = drive_keras(keras.optimizers.SGD(0.01), start, gradients)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


CURVATURES = np.array([1.0, 2.0, 4.0])
SEEDS = 300


def mean_excess_error(simulate, rate, steps):
    """Mean over seeds of J(θ_k) − J* for J = ½Σhθ² with unit noise on each partial derivative."""

    def gradient(k, w):
        noise = tf.random.stateless_normal((SEEDS, 3), seed=tf.stack([k, 17]), dtype=tf.float64)
        return CURVATURES * w + noise

    def excess(w):
        return tf.reduce_mean(tf.reduce_sum(0.5 * CURVATURES * w**2, -1))

    variable = keras.Variable(np.ones((SEEDS, 3)), dtype="float64")
    return simulate(tfopt.SGD(rate), variable, gradient, steps, excess)


def test_excess_error_falls_like_1_over_k_under_robbins_monro(simulate, slope):
    # ε₀τ = 2 exceeds 1/(2·smallest curvature), the condition for the rate.
    errors = mean_excess_error(simulate, tfopt.schedules.RobbinsMonro(0.2, tau=10.0), 4000)
    k = np.arange(1, 4001)
    assert slope(k[200:], errors[200:]) == pytest.approx(-1.0, abs=0.07)


def test_excess_error_follows_the_power_of_the_schedule(simulate, slope):
    errors = mean_excess_error(simulate, tfopt.schedules.RobbinsMonro(0.2, power=0.6, tau=10.0), 4000)
    k = np.arange(1, 4001)
    assert slope(k[200:], errors[200:]) == pytest.approx(-0.6, abs=0.07)


def test_excess_error_stays_at_a_constant_rate(simulate):
    errors = mean_excess_error(simulate, 0.05, 2000)
    # Stationary variance of each weight under unit noise: ε / (h (2 − εh)).
    expected = np.sum(0.5 * CURVATURES * 0.05 / (CURVATURES * (2 - 0.05 * CURVATURES)))
    assert errors[500:].mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), "fast", None, True])
def test_refuses_a_bad_learning_rate(rate, assert_refuses):
    assert_refuses(tfopt.SGD, "learning_rate", rate)
