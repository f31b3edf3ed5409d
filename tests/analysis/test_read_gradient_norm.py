"""The reading of the gradient's norm over time."""

import numpy as np
import pytest

from tfopt.analysis import read_gradient_norm

TIME = np.linspace(0, 1, 200)
NOISE = 1 + 0.2 * np.random.default_rng(0).normal(size=200)


@pytest.mark.parametrize(
    ("norms", "reading"),
    [
        (np.exp(-8 * TIME) * np.abs(NOISE), "CRITICAL"),
        (0 * TIME, "CRITICAL"),
        (np.exp(2 * TIME) * np.abs(NOISE), "GROWING"),
        (np.abs(NOISE), "NOT_CRITICAL"),
        (0.3 + np.exp(-8 * TIME), "NOT_CRITICAL"),
        (1 - 0.97 * TIME**8, "FALLING"),
        # One spike at the start or the end is no trend.
        (np.where(TIME == 1, 50.0, np.exp(-8 * TIME)), "CRITICAL"),
        (np.where(TIME == 0, 1e4, 1.0), "NOT_CRITICAL"),
    ],
)
def test_readings(norms, reading):
    found = read_gradient_norm(norms)
    assert found.reading.name == reading
    assert found.findings[0].sentence.startswith(found.reading.value)


def test_numbers():
    found = read_gradient_norm(np.arange(10, 0, -1.0), small=0.2)
    assert (found.first, found.last, found.ratio) == (10.0, 1.0, 0.1)
    assert found.reading.name == "CRITICAL"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norms": [1.0] * 9}, r"norms='9 numbers'\): expected a row of at least 10"),
        ({"norms": [-1.0] * 10}, "finite numbers >= 0"),
        ({"norms": [np.nan] * 10}, "finite numbers >= 0"),
        ({"norms": np.ones((10, 2))}, "a row"),
        ({"norms": TIME, "small": 1.0}, "0 < small < 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        read_gradient_norm(**arguments)
