"""Sums of what steps add to metrics, on a model of this process."""

import types

import keras
import numpy as np
import pytest

from tfopt.distribute import _tally
from tfopt.distribute._tally import Tally


@pytest.fixture
def functions():
    """What `Tally` needs of the steps of a model with a loss, an accuracy and counts by threshold."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", "TruePositives"])
    model.test_on_batch(np.ones((2, 2)), np.ones((2, 1)))
    metrics = model.metrics_variables
    initial = [value for metric in model.metrics for value in metric.stateless_reset_state()]
    return types.SimpleNamespace(model=model, metrics=metrics, initial=initial)


def added(functions, loss, count, correct=0.0, positives=0.0):
    """What a step adds: total and count of the loss, of the accuracy, and the positives."""
    values = {"loss": [loss * count, count], "accuracy": [correct, count], "TruePositives": [[positives]]}
    found = [value for part in values.values() for value in part]
    assert [np.shape(value) for value in found] == [tuple(v.shape) for v in functions.metrics]
    return [np.asarray(value, "float32") for value in found]


def test_means_are_over_samples_and_staleness_over_steps(functions):
    tally = Tally(functions)
    tally.add(added(functions, 3.0, 2, correct=1, positives=1), np.int64(0))
    tally.add(added(functions, 0.0, 1, correct=1), 4)
    tally.add(added(functions, 0.0, 1, correct=1), 0)
    expected = {"loss": 1.5, "accuracy": 0.75, "TruePositives": 1.0, "staleness": 4 / 3, "staleness_max": 4}
    assert tally.logs() == pytest.approx(expected, rel=1e-6)
    assert dict(tally.staleness) == {0: 2, 4: 1}
    assert tally.steps == 3
    # The initial state is nobody's but the functions'.
    assert Tally(functions).logs() == {"loss": 0.0, "accuracy": 0.0, "TruePositives": 0.0}


def test_without_staleness_none_is_told(functions):
    tally = Tally(functions)
    tally.add(added(functions, 3.0, 2))
    assert set(tally.logs()) == {"loss", "accuracy", "TruePositives"}


def test_long_epochs_are_summed_in_double_precision(functions):
    """In float32 sums of 2^24 stand still when 1 is added."""
    tally = Tally(functions)
    tally.add(added(functions, 0.0, 1, positives=2.0**25))
    for _ in range(4):
        tally.add(added(functions, 0.0, 1, positives=1.0))
    assert tally.logs()["TruePositives"] == 2.0**25 + 4


def test_what_is_told_after_single_steps_is_refreshed_now_and_then(functions, monkeypatch):
    tally, now = Tally(functions), [100.0]
    monkeypatch.setattr(_tally.time, "monotonic", lambda: now[0])
    tally.add(added(functions, 1.0, 1))
    assert tally.recent_logs()["loss"] == 1.0
    tally.add(added(functions, 3.0, 1))
    now[0] += _tally.REFRESH / 2
    logs = tally.recent_logs()
    assert logs["loss"] == 1.0
    logs["loss"] = 9.0  # a callback's own copy
    assert tally.recent_logs()["loss"] == 1.0
    now[0] += _tally.REFRESH
    assert tally.recent_logs()["loss"] == 2.0
    assert tally.logs()["loss"] == 2.0
