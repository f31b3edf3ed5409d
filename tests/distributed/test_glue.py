"""Guards of the private hooks that tfopt/distribute/_glue.py stands on: each is named and seen to work."""

import inspect
import threading

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.coordinator import cluster_coordinator

from tfopt.distribute import _glue


def compiled():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def test_tf_epoch_iterator_gives_the_batches_of_fit_and_begins_anew():
    assert "TFEpochIterator" in inspect.getsource(_glue)
    x = np.arange(5.0)[:, None]
    batches = _glue.batches_like_fit(x=x, y=x, batch_size=2, shuffle=False)
    assert batches.num_batches == 3
    for _ in range(2):
        _glue.restart(batches)
        with batches.catch_stop_iteration():
            found = [next(iterator)[0].numpy().ravel().tolist() for _, _, iterator in batches]
        assert found == [[0, 1], [2, 3], [4]]


def test_symbolic_build_and_loss_tracker_make_a_model_ready():
    model = compiled()
    spec = _glue.batches_like_fit(x=np.ones((4, 3)), y=np.ones((4, 1)), batch_size=2)
    _glue.build(model, next(iterator for _, _, iterator in spec).element_spec)
    assert model.built
    assert model.optimizer.built
    assert len(model.metrics_variables) == 4
    _glue.track_loss(model, 3.0, 2)
    _glue.track_loss(model, 0.0, 1)
    assert float(model.get_metrics_result()["loss"]) == 2.0


def test_distribution_strategy_is_that_of_the_scope(strategy):
    assert _glue.strategy_of(keras.optimizers.SGD()) is tf.distribute.get_strategy()
    with strategy.scope():
        assert _glue.strategy_of(keras.optimizers.SGD()) is strategy


def test_initial_epoch_and_should_eval_are_those_of_fit():
    model = compiled()
    assert _glue.first_epoch(model, 2) == 2
    model._initial_epoch = 5
    assert _glue.first_epoch(model, 2) == 5
    assert [_glue.should_evaluate(model, epoch, 2) for epoch in range(4)] == [False, True, False, True]
    assert not _glue.has_own_train_step(model)


def test_cluster_resolver_of_a_strategy():
    class Resolver:
        def cluster_spec(self):
            return self

        def as_dict(self):
            return {"worker": ["a:1"]}

    class Strategy:
        _cluster_resolver = Resolver()

    assert _glue.cluster_of(Strategy()) == {"worker": ["a:1"]}
    assert "_cluster_resolver" in inspect.getsource(tf.distribute.ParameterServerStrategy.__init__)


def test_failure_handler_waits_for_a_lock_when_it_is_stopped_and_is_kept_from_it():
    from tensorflow.python.distribute.coordinator import cluster_coordinator

    source = inspect.getsource(cluster_coordinator.WorkerPreemptionHandler)
    for name in (
        "_should_preemption_thread_run",
        "_cluster_update_lock",
        "_cluster_due_for_update_or_finish",
    ):
        assert name in source
    assert "self._cluster.stop()" in inspect.getsource(cluster_coordinator.ClusterCoordinator.__del__)
    assert "self.failure_handler.stop()" in inspect.getsource(cluster_coordinator.Cluster.stop)

    class Handler:
        _should_preemption_thread_run = True
        _cluster_due_for_update_or_finish = threading.Event()

    class Coordinator:
        class _cluster:
            failure_handler = Handler()

    _glue.end_without_waiting(Coordinator())
    Coordinator._cluster.failure_handler.stop()
    assert not Coordinator._cluster.failure_handler._should_preemption_thread_run
    assert Handler._cluster_due_for_update_or_finish.is_set()


def test_unknown_is_what_tensorflow_takes_for_a_worker_that_was_started_again():
    assert _glue.UNKNOWN in inspect.getsource(cluster_coordinator._is_worker_failure)
