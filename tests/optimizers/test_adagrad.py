"""AdaGrad: reference, the 1/√τ law, peer, arguments."""

import itertools

import keras
import numpy as np
import pytest

import tfopt

RATE = np.float64(np.float32(0.01))


def reference(theta, gradient, delta=1e-7, *, initial=0.0, inside=False, late=False):
    r = np.full_like(theta, initial)
    for t in itertools.count(1):
        g = gradient(t, theta)
        before, r = r, r + g**2
        used = before if late and t > 1 else r
        theta = theta - RATE * g / (np.sqrt(used + delta) if inside else delta + np.sqrt(used))
        yield theta, {"square_sum": r}


@pytest.mark.parametrize("delta", [1e-7, 1e-2])
def test_equals_the_reference(delta, drive, start, gradients, assert_equal):
    run = drive(tfopt.AdaGrad(0.01, epsilon=delta), start, gradients)
    assert_equal(run, reference(start, gradients, delta))


@pytest.fixture(scope="module")
def usual(drive, start, gradients):
    """The run with the default arguments, to hold wrong formulas against."""
    return drive(tfopt.AdaGrad(0.01), start, gradients)


@pytest.mark.parametrize(
    "wrong",
    [dict(delta=1e-8), dict(inside=True), dict(initial=0.1), dict(initial=1e-7), dict(late=True)],
    ids=["delta", "delta_inside", "initial", "small_initial", "off_by_one"],
)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    assert_differs(usual, reference(start, gradients, **wrong))


def test_fit_equals_the_reference(least_squares, assert_equal):
    run = least_squares.fit(tfopt.AdaGrad(0.01))
    assert_equal(run, reference(run.start, least_squares.gradient))


def test_equals_keras_that_starts_at_0(drive, drive_keras, start, gradients):
    # Keras has δ inside the root, so its δ is the square of ours, and vanishes.
    theirs = keras.optimizers.Adagrad(0.01, initial_accumulator_value=0.0, epsilon=2.0**-100)
    expected = drive_keras(theirs, start, gradients)
    ours = drive(tfopt.AdaGrad(0.01, epsilon=2.0**-50), start, gradients).iterates
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("g", [1e-3, -1.0, 50.0])
def test_a_constant_gradient_gives_steps_of_rate_over_root_tau(g, drive):
    run = drive(tfopt.AdaGrad(0.01, epsilon=1e-14), np.zeros(1), lambda t, point: np.array([g]), steps=40)
    steps = np.diff([run.start, *run.iterates], axis=0)[:, 0]
    np.testing.assert_allclose(steps, -np.sign(g) * RATE / np.sqrt(np.arange(1, 41)), rtol=1e-9)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("epsilon", 0.0), ("epsilon", -1e-7), ("epsilon", "small"), ("learning_rate", -1.0)],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.AdaGrad, argument, value)
