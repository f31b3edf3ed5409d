"""AsynchronousTrainer: fit for asynchronous minibatch updates on parameter servers."""

import collections
import contextlib

import keras
import tensorflow as tf

from tfopt._check import require, require_positive
from tfopt.distribute import _faults, _glue, _refusals
from tfopt.distribute._additive import require_additive
from tfopt.distribute._flight import Flight
from tfopt.distribute._refusals import OWNER
from tfopt.distribute._source import source_of
from tfopt.distribute._step import Steps, batch_of
from tfopt.distribute._tally import Tally
from tfopt.distribute.connect import connect

# Steps under way for each worker: one that runs and one that waits, so that none is idle.
AHEAD = 2


class AsynchronousTrainer:
    r"""Trains a Keras model with asynchronous minibatch updates: workers compute, servers hold the weights.

    Each step reads the weights θ_k after k updates, computes the gradient of one minibatch on a worker, and
    hands it to the servers, where by then τ further updates have been made::

        θ_{k+τ+1} ← update(θ_{k+τ}, g(θ_k))

    τ is the step's staleness: the number of updates that others made between its read and its write. With one
    worker it is 0 and the weights are those of Keras' own `fit` on one device, to the bit where a fused
    kernel makes the update, to rounding elsewhere. Reads and writes take turns, so that every gradient
    belongs to weights that stood on the servers together, and every update is whole. The optimizer's slots
    lie beside the weights and its update, fused kernels included, runs there.

    `fit` is Keras' `fit`: callbacks, validation, class and sample weights, and a `History`, in which the
    entries ``staleness`` and ``staleness_max`` are the mean and the largest τ of an epoch. Metrics are exact
    sums over the samples of all workers; in an epoch resumed in its midst, over those that were left.

    A worker may die and come back; the batch it had goes to another. (If it died between its update and its
    answer the batch counts twice.) When a server is lost, the weights are: `fit` raises a ConnectionError,
    and what `tfopt.callbacks.BackupAndRestore` saved last is good.

    Only rules that take one gradient at a time work asynchronously. Methods with a line search compare losses
    at points of their own choice and are refused, as are a train step of the model's own, callbacks that
    change or measure the model between two steps, metrics whose state is no sum over batches, and layers that
    set trained weights in their call, such as `keras.layers.SpectralNormalization`. Statistics of batch
    normalisation move by what each step adds to them. Embeddings travel to the workers whole.

    Under ``mixed_float16`` a gradient that was computed with an earlier loss scale is brought to the one that
    the servers have by now. With ``jit_compile=True`` forward and backward pass are compiled on the workers.
    ``steps_per_execution`` changes nothing. A model compiled anew between two `fit`, within the strategy's
    ``scope()``, is trained as it is then.

    The functions that run on the workers are sent to all of them in the first steps. A worker that stands
    still (SIGSTOP, a machine that swaps) before that is named within `timeout` seconds; one that stops in the
    midst of it holds everybody up until it goes on or ends, for TensorFlow waits for it without an end.

    Args:
        model: Function without arguments that returns a compiled model; it is called when the cluster is
            connected, with variables going to the servers. Or a compiled model, made under ``scope()`` of the
            strategy that `tfopt.distribute.connect` gave.
        cluster: The cluster, as `connect` takes it, for a function as `model`; default ``TF_CONFIG``'s.
        timeout: Seconds to wait for the cluster at the start, and for a dead worker or server when nothing
            has come back for as long.

    Attributes:
        model: The model; its variables lie on the servers.
        strategy: The `tf.distribute.ParameterServerStrategy`.
        staleness: `collections.Counter` from τ to the number of steps, over all epochs so far.

    Raises:
        ValueError: If the optimizer needs synchronous evaluations, a variable lies outside the servers, or an
            argument is not what it should be.
        OSError: If the coordinator's own port is in use.
        TimeoutError: If a worker or server does not come in time; the message names it.

    Example:
        >>> import keras, tfopt
        >>> def model():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     model.compile(tfopt.Adam(0.01), "mse")
        ...     return model
        >>> nobody = {"worker": ["127.0.0.1:1"], "ps": ["127.0.0.1:2"]}
        >>> tfopt.distribute.AsynchronousTrainer(model, nobody, timeout=0.1)
        Traceback (most recent call last):
        TimeoutError: connect: no answer within 0.1 s from worker 0 at 127.0.0.1:1, ps 0 at 127.0.0.1:2. ...

    With processes behind the addresses (`LocalCluster`, or ``python -m tfopt serve`` on every machine)
    ``AsynchronousTrainer(model, cluster).fit(x, y, epochs=5)`` trains.

    Source: chapter section 3.2; Dean et al., Large Scale Distributed Deep Networks, 2012, section 4.1
    (Downpour SGD).
    """

    def __init__(self, model, cluster=None, *, timeout=60.0):
        require_positive(OWNER, timeout=timeout)
        expected = "a compiled model, or a function without arguments that returns one"
        require(callable(model), OWNER, "model", model, expected)
        self.timeout = timeout
        if isinstance(model, keras.Model):
            expected = "None, since the model has its strategy already"
            require(cluster is None, OWNER, "cluster", cluster, expected)
            self.strategy = model.distribute_strategy
        else:
            self.strategy = connect(cluster, timeout=timeout)
            with self.strategy.scope():
                model = model()
            require(isinstance(model, keras.Model), OWNER, "model", model, expected)
        _refusals.check_model(model, self.strategy)
        self.model = model
        self.staleness: collections.Counter = collections.Counter()
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)
        _glue.end_without_waiting(self._coordinator)
        self._steps: Steps | None = None

    @property
    def updates(self):
        """Number of updates that the servers have made for this trainer."""
        return 0 if self._steps is None else int(self._steps.updates.numpy())

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Train; the arguments are those of Keras' `fit` where nothing else is said.

        Args:
            x: Arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset`: the coordinator reads them and sends
                each batch to the next free worker, in the order in which `fit` would take them. Or a function
                without arguments that returns an endless dataset of batches: every worker calls it and reads
                for itself, `steps_per_epoch` batches in all.
            y: Targets, if `x` is arrays.
            batch_size: Samples in a batch of arrays.
            epochs: Epoch at which to end.
            verbose: 0 silent, 1 progress bar, 2 one line per epoch.
            callbacks: Keras callbacks. Their batch hooks are called as steps end, while others are under way,
                with metrics that may be a fifth of a second old. The servers rest between epochs, and where a
                callback with an integer `save_freq` saves.
            validation_data: As in `fit`, or a function as `x`; the workers evaluate it.
            shuffle: Whether arrays are shuffled before each epoch.
            class_weight: Weight of each class.
            sample_weight: Weight of each sample.
            initial_epoch: Epoch to begin with.
            steps_per_epoch: Batches of an epoch.
            validation_steps: Batches of a validation.
            validation_batch_size: Samples in a batch of validation.
            validation_freq: Epochs between validations.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: If an argument is not what it should be; nothing has been trained then.
            ConnectionError: If a parameter server was lost.
            TimeoutError: If no worker is left and none came back, or one stands still when the functions are
                sent.
        """
        callbacks = _refusals.check_callbacks(callbacks)
        data = dict(y=y, batch_size=batch_size, class_weight=class_weight, sample_weight=sample_weight)
        source = source_of(self._coordinator, x, steps_per_epoch, shuffle=shuffle, **data)
        validation = None
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation = self._validation(validation_data, size, validation_steps)
        functions = self._build(source)
        model = self.model
        _refusals.require_started(model)
        listeners = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=source.steps,
            model=model,
        )
        model.stop_training = False
        listeners.on_train_begin()
        logs, rest = {}, _Rest(listeners.callbacks)
        first = _glue.first_epoch(model, initial_epoch)
        source.pass_over(first - initial_epoch)
        for epoch in range(first, epochs):
            listeners.on_epoch_begin(epoch)
            logs = self._epoch(functions, source, listeners, rest)
            if validation is not None and _glue.should_evaluate(model, epoch, validation_freq):
                found = self._evaluate(functions, validation, listeners)
                validation.restart()
                logs |= {f"val_{name}": value for name, value in found.items()}
            listeners.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        if epochs > 0:
            model.optimizer.finalize_variable_values(model.trainable_variables)
        listeners.on_train_end(logs)
        return model.history

    def evaluate(self, x=None, y=None, batch_size=None, sample_weight=None, steps=None):
        """Loss and metrics of the weights on the servers, computed by the workers.

        Args:
            x: Inputs as `fit` takes them.
            y: Targets, if `x` is arrays.
            batch_size: Samples in a batch of arrays.
            sample_weight: Weight of each sample.
            steps: Batches to evaluate.

        Returns:
            Dict from name to value.
        """
        data = dict(y=y, batch_size=batch_size, sample_weight=sample_weight, names=("evaluate", "x", "steps"))
        source = source_of(self._coordinator, x, steps, shuffle=False, **data)
        functions = self._build(source)
        return self._evaluate(functions, source, keras.callbacks.CallbackList())

    def _validation(self, data, batch_size, steps):
        if callable(data) and not isinstance(data, keras.utils.PyDataset):
            names = ("fit", "validation_data", "validation_steps")
            return source_of(self._coordinator, data, steps, names, shuffle=False)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        options = dict(y=y, sample_weight=sample_weight, batch_size=batch_size, shuffle=False)
        return source_of(self._coordinator, x, steps, **options)

    def _build(self, source):
        """The functions that the workers run, for the model as it is now."""
        _refusals.check_model(self.model, self.strategy)
        with self.strategy.scope():
            _glue.build(self.model, source.spec)
        if self._steps is None or not self._steps.are_of(self.model):
            _refusals.require_on_servers(self.model)
            require_additive(OWNER, self.model, lambda: batch_of(source.first()))
            _faults.require_awake(_glue.cluster_of(self.strategy), self.timeout)
            updates = None if self._steps is None else self._steps.updates
            self._steps = Steps(self.model, self.strategy, updates)
        return self._steps

    def _epoch(self, functions, source, listeners, rest):
        """Train on the batches of an epoch; returns its logs."""
        tally, watched = Tally(functions), len(listeners.callbacks) > 1
        trained = _resumed_batches(listeners.callbacks)

        def tell(results):
            for result in results:
                tally.add(*result)
                logs = tally.recent_logs() if watched else {}
                listeners.on_train_batch_end(trained + tally.steps - 1, logs)

        with self._flight() as flight:
            for step, argument in enumerate(source.epoch()):
                listeners.on_train_batch_begin(step)
                if step < trained:
                    listeners.on_train_batch_end(step, {})
                    continue
                tell(flight.add(functions.train, argument))
                if rest.due():
                    tell(flight.rest())
                if self.model.stop_training:
                    break
            tell(flight.rest())
        self.staleness += tally.staleness
        return tally.logs()

    def _evaluate(self, functions, source, listeners):
        tally, watched = Tally(functions), len(listeners.callbacks) > 1

        def tell(results):
            for added in results:
                tally.add(added)
                listeners.on_test_batch_end(tally.steps - 1, tally.recent_logs() if watched else {})

        listeners.on_test_begin()
        with self._flight() as flight:
            for step, argument in enumerate(source.epoch()):
                listeners.on_test_batch_begin(step)
                tell(flight.add(functions.test, argument))
            tell(flight.rest())
        logs = tally.logs()
        listeners.on_test_end(logs)
        return logs

    @contextlib.contextmanager
    def _flight(self):
        """Steps under way; what goes wrong with them is raised as what it means."""
        cluster = _glue.cluster_of(self.strategy)
        limit = AHEAD * len(cluster["worker"])
        try:
            yield Flight(self._coordinator, limit, self.timeout, lambda: _faults.look(cluster, self.timeout))
        except tf.errors.OpError as error:
            raise _faults.meaning(self._coordinator, error, cluster, self.timeout) from error


def _resumed_batches(callbacks):
    """How many batches of an epoch were trained on before the backup that a callback has taken up."""
    return max((getattr(callback, "resumed_batches", 0) for callback in callbacks), default=0)


class _Rest:
    """When the servers have to rest because a callback will save after so many steps."""

    def __init__(self, callbacks):
        frequencies = (getattr(callback, "save_freq", None) for callback in callbacks)
        self._frequencies = [f for f in frequencies if isinstance(f, int) and f > 0]
        # Some callbacks count the batches of a resumed epoch that are passed over, others do not.
        self._counts = [0, _resumed_batches(callbacks)]

    def due(self):
        """Count one more step; whether nothing may be under way after it."""
        self._counts = [count + 1 for count in self._counts]
        return any(count % frequency == 0 for count in self._counts for frequency in self._frequencies)
