"""Optimizers of several workers and of strategies: what has to agree, and what the errors say.

tests/distributed asks real workers.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.optimizers import _agreement


class Workers:
    """Gathers from this worker and from others that hold what they are given."""

    def __init__(self, monkeypatch, *others):
        self.others = others
        self.sent = []
        monkeypatch.setattr(_agreement, "_workers", lambda strategy: 1 + len(others))

    def gather(self, value, axis):
        assert axis == 0
        self.sent.append(value.numpy())
        rows = [self.sent[-1], *(self._answer(text) for text in self.others)]
        return tf.constant(np.concatenate(rows))

    def _answer(self, description):
        text = json.dumps(description, sort_keys=True).encode()
        size = len(self.sent)
        return np.array(
            list(_agreement.hashlib.sha256(text).digest())
            if size == 1
            else [len(text)]
            if size == 2
            else list(text)
        )


def description_of(optimizer):
    return optimizer._description([keras.Variable(np.zeros((2, 3)), dtype="float32", name="kernel")])


def test_equal_ones_cost_one_digest(monkeypatch):
    description = description_of(tfopt.Adam(0.1))
    workers = Workers(monkeypatch, description, description)
    _agreement.require_agreement("Adam", workers, lambda: description)
    assert [len(value) for value in workers.sent] == [32]


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (tfopt.Adam(0.1), tfopt.SGD(0.1), "class 'SGD', worker 0 'Adam'"),
        (tfopt.Adam(0.5), tfopt.Adam(0.25), "learning_rate 0.25, worker 0 0.5"),
        (tfopt.SGD(clipnorm=1.0), tfopt.SGD(), "clipnorm None, worker 0 1.0"),
        (
            tfopt.PolyakAverage(tfopt.Momentum(0.5, 0.5)),
            tfopt.PolyakAverage(tfopt.Momentum(0.5, 0.25)),
            "inner.config.momentum 0.25, worker 0 0.5",
        ),
    ],
)
def test_what_differs_is_named(ours, theirs, message, monkeypatch):
    workers = Workers(monkeypatch, description_of(ours), description_of(theirs))
    with pytest.raises(ValueError) as caught:
        _agreement.require_agreement("Adam", workers, lambda: description_of(ours))
    assert str(caught.value) == f"Adam: expected the same optimizer on every worker; worker 2 has {message}."


def test_other_variables_are_named(monkeypatch):
    ours = description_of(tfopt.SGD())
    theirs = ours | {"variables": [["kernel", [2, 4], "float32"]]}
    with pytest.raises(ValueError, match=r"worker 1 has variables \[\['kernel', \[2, 4\]"):
        _agreement.require_agreement("SGD", Workers(monkeypatch, theirs), lambda: ours)


def test_names_and_the_place_of_a_function_do_not_count():
    rates = [lambda: 0.1, lambda: 0.1]
    one, other = (tfopt.Adam(rate, name=f"adam_{k}") for k, rate in enumerate(rates))
    assert description_of(one) == description_of(other)
    json.dumps(description_of(one))


def test_what_cannot_be_written_down_is_left_out():
    optimizer = tfopt.Adam(eval("lambda: 0.1"))
    with pytest.raises(OSError, match="source"):
        optimizer.get_config()
    assert description_of(optimizer) == {"class": "Adam", "variables": [["kernel", [2, 3], "float32"]]}


def test_a_schedule_of_ones_own_need_not_be_written_down():
    class Mine(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

    expected = {"class": "Adam", "variables": [["kernel", [2, 3], "float32"]]}
    assert description_of(tfopt.Adam(Mine())) == expected


def test_one_worker_asks_nobody():
    _agreement.require_agreement("Adam", tf.distribute.get_strategy(), pytest.fail)
    assert _agreement._workers(tf.distribute.MirroredStrategy(["CPU:0"])) == 1


def build(optimizer, variable):
    with pytest.raises(ValueError) as caught:
        optimizer.build([variable])
    assert not optimizer.built
    return str(caught.value)


def test_variables_outside_the_strategys_scope_are_refused(strategy):
    outside, late = keras.Variable([1.0], name="kernel"), tfopt.Adam()
    with strategy.scope():
        optimizer, inside = tfopt.Adam(), keras.Variable([1.0], name="bias")
    text = (
        "Adam: expected variables of the scope of the strategy that the optimizer was created in, {}; {} was"
    )
    assert build(optimizer, outside).startswith(text.format("MirroredStrategy", "kernel"))
    assert build(late, inside).startswith(text.format("_DefaultDistributionStrategy", "bias"))
    other = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    with other.scope():
        foreign = keras.Variable([1.0], name="top")
    assert build(optimizer, foreign).startswith(text.format("MirroredStrategy", "top"))
    with strategy.scope():
        optimizer.build([inside])
    assert optimizer.built


def test_a_model_outside_the_scope_is_refused_and_left_alone(strategy):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    before = model.get_weights()
    with strategy.scope():
        model.compile(tfopt.SGD(), "mse")
    with pytest.raises(ValueError, match=r"SGD: expected variables of the scope .*`with strategy\.scope"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
