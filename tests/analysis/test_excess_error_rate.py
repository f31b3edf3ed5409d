"""The exponent of the excess error: planted ones, methods whose rate is known, bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.analysis import excess_error_rate

K = np.arange(1, 3001)


@pytest.mark.parametrize(("exponent", "name"), [(0.5, "1/√k"), (1.0, "1/k"), (2.0, "1/k²")])
@pytest.mark.parametrize("known", [True, False])
def test_planted_powers(exponent, name, known):
    found = excess_error_rate(1.5 + 4.0 / K**exponent, minimum=1.5 if known else None)
    assert found.exponent == pytest.approx(exponent, abs=0.01)
    assert found.constant == pytest.approx(4.0, rel=0.1)
    assert found.minimum == pytest.approx(1.5, abs=0.01)
    assert found.error < 0.01
    assert name == found.name
    assert name in found.findings[0].name


def test_noise_averages_out_and_the_error_says_how_far():
    rng = np.random.default_rng(0)
    exponents, errors = [], []
    for _ in range(30):
        losses = 2.0 + (3.0 / K) * rng.lognormal(-0.125, 0.5, size=len(K))
        found = excess_error_rate(losses, minimum=2.0)
        exponents.append(found.exponent)
        errors.append(found.error)
    assert np.mean(exponents) == pytest.approx(1.0, abs=0.05)
    assert 0.5 < np.mean(errors) / np.std(exponents) < 2.0


def test_steps_of_any_spacing():
    steps = np.unique(np.geomspace(10, 1e5, 60).astype(int))
    assert excess_error_rate(1 / steps**0.5, steps, minimum=0.0).exponent == pytest.approx(0.5, abs=1e-3)
    assert excess_error_rate(1 / steps**0.5, minimum=0.0).exponent > 1


def test_the_start_may_be_left_out():
    losses = np.where(K < 20, 100.0, 5.0 / K)
    assert excess_error_rate(losses, minimum=0.0, skip=0.5).exponent == pytest.approx(1.0, abs=0.02)


def test_far_from_any_named_rate():
    assert excess_error_rate(np.exp(-K[:300] / 10), minimum=0.0).name == "faster than 1/k²"
    assert excess_error_rate(1 / K**0.1, minimum=0.0).name == "slower than 1/√k"


def test_sgd_under_robbins_monro_on_a_noisy_quadratic():
    """Strongly convex: 1/k, means of the excess over 200 runs."""
    rng, steps, runs = np.random.default_rng(0), 2000, 200
    schedule = tfopt.schedules.RobbinsMonro(0.5, power=1.0)
    variable = keras.Variable(np.ones(runs), dtype="float64")
    optimizer = tfopt.SGD(schedule)
    step = tf.function(lambda noise: optimizer.apply([variable.value + noise], [variable]))
    excess = []
    for _ in range(steps):
        excess.append(0.5 * np.mean(variable.numpy() ** 2))
        step(tf.constant(rng.normal(size=runs)))
    found = excess_error_rate(excess, minimum=0.0, skip=0.4)
    assert found.name == "1/k"
    assert found.exponent == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"losses": [1.0] * 7}, r"excess_error_rate\(losses='7 numbers'\)"),
        ({"losses": [np.inf] * 9}, "finite numbers"),
        ({"losses": 1 / K, "steps": [1, 2]}, r"steps='2 numbers'"),
        ({"losses": 1 / K, "steps": K[::-1]}, "rising numbers"),
        ({"losses": 1 / K, "minimum": 2.0}, r"minimum=2.0\): expected a minimum below the losses"),
        ({"losses": 1 / K, "minimum": "0"}, "a finite number or None"),
        ({"losses": 1 / K, "skip": 1.0}, "0 <= skip < 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        excess_error_rate(**arguments)
