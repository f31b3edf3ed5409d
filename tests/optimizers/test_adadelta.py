"""AdaDelta: reference, the window, freedom of units, peer, arguments."""

import itertools

import keras
import numpy as np
import pytest

import tfopt


def reference(theta, gradient, rho=0.95, delta=1e-6, rate=1.0, *, eager=False, outside=False):
    """Zeiler's algorithm 1; `eager` takes the step of this update into its own length."""
    r, d = np.zeros((2, len(theta)))
    for t in itertools.count(1):
        g = gradient(t, theta)
        r = rho * r + (1 - rho) * g**2
        lengths = rho * d + (1 - rho) * g**2 if eager else d
        if outside:
            step = -(np.sqrt(lengths) + delta) / (np.sqrt(r) + delta) * g
        else:
            step = -np.sqrt(lengths + delta) / np.sqrt(r + delta) * g
        d = rho * d + (1 - rho) * step**2
        theta = theta + rate * step
        yield theta, {"square": r, "squared_step": d}


SETTINGS = [{}, dict(rho=0.8), dict(rho=0.0), dict(epsilon=1e-3), dict(learning_rate=0.125)]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_equals_the_reference(setting, drive, start, gradients, assert_equal):
    names = {"epsilon": "delta", "learning_rate": "rate"}
    expected = {names.get(key, key): value for key, value in setting.items()}
    assert_equal(drive(tfopt.AdaDelta(**setting), start, gradients), reference(start, gradients, **expected))


@pytest.mark.parametrize("window", [20, 4, 2.5])
def test_a_window_stands_for_its_rho(window, drive, start, gradients, assert_equal):
    run = drive(tfopt.AdaDelta(window=window), start, gradients)
    assert_equal(run, reference(start, gradients, rho=1 - 1 / window))


def test_a_window_keeps_about_its_own_length(drive):
    # Of gradients older than w steps (1 − 1/w)^w is left, little more than a third.
    window = 10
    optimizer = tfopt.AdaDelta(window=window)
    run = drive(optimizer, np.zeros(1), lambda t, point: np.array([3.0 if t <= 50 else 0.0]), steps=60)
    squares = [slots["square"][0] for slots in run.slots]
    assert squares[59] / squares[49] == pytest.approx((1 - 1 / window) ** window, rel=1e-9)


@pytest.fixture(scope="module")
def usual(drive, start, gradients):
    """The run with the default arguments, to hold wrong formulas against."""
    return drive(tfopt.AdaDelta(), start, gradients)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(rho=0.9501),
        dict(delta=1.001e-6),
        dict(rate=0.001),
        dict(eager=True),
        dict(outside=True),
    ],
    ids=["rho", "delta", "rate", "length_of_this_step", "delta_outside"],
)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    assert_differs(usual, reference(start, gradients, **wrong))


def test_fit_equals_the_reference(least_squares, assert_equal):
    run = least_squares.fit(tfopt.AdaDelta())
    assert_equal(run, reference(run.start, least_squares.gradient))


def test_equals_keras(drive, drive_keras, start, gradients):
    options = dict(rho=0.875, epsilon=2.0**-20)
    theirs = drive_keras(keras.optimizers.Adadelta(1.0, **options), start, gradients)
    ours = drive(tfopt.AdaDelta(**options), start, gradients).iterates
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


def test_the_steps_do_not_depend_on_the_unit_of_the_loss(drive, start):
    table = np.random.default_rng(1).normal(size=(12, len(start)))
    small, large = (
        drive(tfopt.AdaDelta(epsilon=1e-12), start, lambda t, point, c=c: c * table[t - 1]).iterates[-1]
        for c in (1.0, 1e4)
    )
    np.testing.assert_allclose(small - start, large - start, rtol=1e-5)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("rho", 1.0),
        ("rho", -0.1),
        ("epsilon", 0.0),
        ("window", 1.0),
        ("window", float("nan")),
        ("window", "long"),
        ("learning_rate", 0.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.AdaDelta, argument, value)


def test_refuses_a_rho_beside_a_window(assert_refuses):
    assert_refuses(tfopt.AdaDelta, "rho", 0.9, window=10)
