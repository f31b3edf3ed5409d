"""The repairs of Keras' trainer on several replicas: where Keras works, the results stay the same.

Where Keras fails, it takes workers or collectives to see: tests/distributed does.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.repair import _execution, _glue, _workers

X = np.random.default_rng(0).normal(size=(22, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def unmended():
    """Start and end with Keras as it is."""
    yield
    tfopt.repair_keras(undo=True)
    assert _glue.reduces_whole_batches()
    assert _glue.reduces_scalars_along_an_axis()
    assert _glue.steps_within_branches()


def test_keras_has_the_faults_until_they_are_mended():
    """Fails where Keras mends one of them: the repair is to go then."""
    probes = (_glue.reduces_whole_batches, _glue.reduces_scalars_along_an_axis, _glue.steps_within_branches)
    assert [probe() for probe in probes] == [True] * 3
    with tfopt.repair_keras():
        assert [probe() for probe in probes] == [False] * 3


def model(steps, **options):
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"], steps_per_execution=steps, **options)
    return made


def batches():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


def generator():
    for k in range(0, 20, 4):
        yield X[k : k + 4], Y[k : k + 4]


WAYS = {
    "arrays": dict(x=X, y=Y, batch_size=4, shuffle=False, epochs=2, validation_data=(X, Y)),
    "endless": lambda: dict(x=batches().repeat(), steps_per_epoch=8, epochs=2),
    "unknown length": lambda: dict(x=batches().filter(lambda *_: True), epochs=2),
    "generator": lambda: dict(x=generator()),
}


def row(way, **options):
    marks = () if options else pytest.mark.slow
    return pytest.param(WAYS[way], options, id=" ".join([way, *options]), marks=marks)


ROWS = [*map(row, WAYS), row("generator", run_eagerly=True)]


@pytest.mark.parametrize(("way", "options"), ROWS)
def test_several_steps_per_execution_end_where_single_ones_do(way, options, strategy):
    """Six batches in executions of four: the last one is short."""

    def run(steps):
        ends = []
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(batch))
        with strategy.scope():
            made = model(steps, **options)
        arguments = way() if callable(way) else way
        history = made.fit(**arguments, verbose=0, callbacks=[note]).history
        return made.get_weights(), history, made.evaluate(X, Y, batch_size=4, verbose=0), ends

    single = run(1)
    with tfopt.repair_keras():
        several = run(4)
    for a, b in zip(single[0], several[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    for name, values in single[1].items():
        assert several[1][name] == pytest.approx(values, abs=1e-6)
    assert single[2] == pytest.approx(several[2], abs=1e-6)
    assert len(several[3]) < len(single[3])


def test_one_step_per_execution_and_one_replica_are_left_to_keras(strategy, monkeypatch):
    monkeypatch.setattr(_execution, "execution", lambda *_: pytest.fail("not to be called"))
    with tfopt.repair_keras():
        with strategy.scope():
            model(1).fit(X, Y, verbose=0)
        model(3).fit(X, Y, verbose=0)


def test_batches_keep_their_structure(strategy):
    (batch,) = strategy.experimental_distribute_dataset(batches().take(1))
    x, y = _workers.local_batch(strategy, ({"x": batch[0]}, batch[1]))
    assert (x["x"].shape, y.shape) == ((2, 3), (2, 1))
    assert _workers.next_local_batch(strategy, iter(())) is None


def test_means_are_over_replicas_leaf_by_leaf(strategy):
    def step():
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        return {"loss": replica, "vector": tf.stack([replica, 2 * replica])}

    found = _workers.means(strategy, strategy.run(step))
    assert float(found["loss"]) == 0.5
    np.testing.assert_array_equal(found["vector"], [0.5, 1.0])
