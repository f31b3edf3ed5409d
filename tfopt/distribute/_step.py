"""One asynchronous step as a graph: the weights read, a gradient on a worker, an update on the servers."""

import functools
import uuid
import warnings

import keras
import tensorflow as tf

from tfopt._check import require
from tfopt.distribute import _glue


class Turns:
    """Lets one step at a time read or write the servers' variables.

    Without it two workers would interleave: one would read weights that another had changed in part, and of
    two running means written at once one would be lost. TensorFlow's own `tf.CriticalSection` keeps the graph
    to itself while it is traced, which strategies, tracing in threads of their own, do not survive.

    Args:
        device: The server where the lock lies.
    """

    def __init__(self, device):
        self.device = device
        with tf.device(device):
            # A server that outlives its coordinator keeps the old lock, whoever held it.
            self._mutex = tf.raw_ops.MutexV2(container="", shared_name=f"tfopt_{uuid.uuid4().hex}")

    def take(self, function, *arguments):
        """``function(*arguments)`` on the server in a turn of its own.

        The turn begins when all arguments have arrived on the server, so that a worker that dies holds nobody
        up, and ends when all that `function` put into the graph is done.
        """
        graph = tf.compat.v1.get_default_graph()
        with tf.device(self.device):
            arguments = tf.nest.map_structure(tf.identity, arguments, expand_composites=True)
            with tf.control_dependencies(tf.nest.flatten(arguments, expand_composites=True)):
                lock = tf.raw_ops.MutexLock(mutex=self._mutex)
            before = len(graph.get_operations())
            with tf.control_dependencies([lock]):
                results = tf.nest.map_structure(tf.identity, function(*arguments))
            with tf.control_dependencies(graph.get_operations()[before:]):
                tf.raw_ops.ConsumeMutexLock(mutex_lock=lock)
        return results


class Steps:
    """The functions that are sent to the workers.

    Args:
        model: A built, compiled model whose variables lie on the servers.
        strategy: The strategy under whose scope it was made.
        updates: Variable that counts the updates; default a new one.
    """

    def __init__(self, model, strategy, updates=None):
        self.model = model
        self.strategy = strategy
        self.metrics = model.metrics_variables
        self.initial = [value for metric in model.metrics for value in metric.stateless_reset_state()]
        counted = {id(variable) for variable in self.metrics}
        self._others = [v for v in model.non_trainable_variables if id(v) not in counted]
        # Of mixed_float16: it moves with the updates, so that a late gradient may carry an earlier one.
        scale = getattr(model.optimizer, "dynamic_scale", None)
        self._scales = [] if scale is None else [scale]
        # Where the first weights lie; a model that is frozen as a whole has none to train.
        self._turns = Turns(device_of([*model.trainable_variables, *model.optimizer.variables][0]))
        self._made_of = _parts(model)
        self.updates = updates
        if updates is None:
            with strategy.scope(), tf.device(self._turns.device):
                self.updates = tf.Variable(0, dtype=tf.int64, name="updates")
        compiled = tf.function(self._gradients, jit_compile=True, autograph=False)
        self._compute = compiled if model.jit_compile else self._gradients
        self.train = tf.function(self._train, autograph=False, reduce_retracing=True)
        self.test = tf.function(self._test, autograph=False, reduce_retracing=True)

    def are_of(self, model):
        """Whether the model is still what it was, neither compiled anew nor frozen in part since."""
        return [id(part) for part in _parts(model)] == [id(part) for part in self._made_of]

    def _train(self, data):
        """One update; returns what it adds to the metrics, and its staleness."""
        data = batch_of(data)
        at, weights, others, scales = self._turns.take(self._read)
        gradients, moved, added = self._compute(data, weights, others, scales)
        rows = [row for row, gradient in enumerate(gradients) if gradient is not None]
        write = functools.partial(self._write, rows)
        return added, self._turns.take(write, at, [gradients[row] for row in rows], scales, others, moved)

    def _test(self, data):
        """What a batch adds to the metrics."""
        _, weights, others, _ = self._turns.take(self._read)
        return self._evaluated(batch_of(data), weights, others, training=False)[2]

    def _read(self):
        groups = (self.model.trainable_variables, self._others, self._scales)
        values = [[v.value for v in group] for group in groups]
        return self.updates, *tf.nest.map_structure(tf.convert_to_tensor, values)

    def _gradients(self, data, weights, others, scales):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss, moved, added = self._evaluated(data, weights, others, training=True)
            with keras.StatelessScope(state_mapping=list(zip(self._scales, scales, strict=True))):
                loss = self.model.optimizer.scale_loss(loss)
        return tape.gradient(loss, weights), moved, added

    def _evaluated(self, data, weights, others, training):
        """Loss, values of the other variables after the call, additions to the metrics, all of one batch."""
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = [*model.trainable_variables, *self._others, *self.metrics]
        values = [*weights, *others, *self.initial]
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            y_pred = model(x, training=training)
            loss = model.compute_loss(x, y, y_pred, sample_weight, training=training)
            _glue.track_loss(model, loss, tf.shape(_first(x))[0])
            model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        if training:
            self._require_unchanged(scope, weights)
        moved = [scope.get_current_value(v) for v in self._others]
        now = [scope.get_current_value(v) for v in self.metrics]
        return loss, moved, [new - old for new, old in zip(now, self.initial, strict=True)]

    def _require_unchanged(self, scope, weights):
        """Raise ValueError if the forward pass itself has set a weight, which is the updates' to move."""
        pairs = zip(self.model.trainable_variables, weights, strict=True)
        set_by_call = [v.path for v, weight in pairs if scope.get_current_value(v) is not weight]
        expected = "a model whose forward pass leaves the weights that are trained as they are"
        require(not set_by_call, "AsynchronousTrainer", "model", set_by_call, expected)

    def _write(self, rows, at, gradients, scales, others, moved):
        """The update of the variables in `rows`, in its turn; returns its staleness."""
        staleness = self.updates - at
        for variable, scale in zip(self._scales, scales, strict=True):
            # The optimizer divides by what the scale is by now; powers of 2 leave every bit.
            gradients = [_times(gradient, variable.value / scale) for gradient in gradients]
        self.strategy.run(functools.partial(self._apply, rows), args=(gradients,))
        for variable, old, new in zip(self._others, others, moved, strict=True):
            _move(variable.value, old, new, staleness)
        self.updates.assign_add(1)
        return staleness

    def _apply(self, rows, gradients):
        # A thread of the strategy's own, which does not know where it is called from.
        variables = self.model.trainable_variables
        if not variables:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
            return
        # With None for a weight without one, of which the optimizer speaks as in Keras' `fit`.
        given = dict(zip(rows, gradients, strict=True))
        with tf.device(self._turns.device):
            self.model.optimizer.apply([given.get(row) for row in range(len(variables))], variables)


def _parts(model):
    """What the functions are made of; holding on to it keeps its identity from being another's."""
    return [model.optimizer, *model.trainable_variables, *model.metrics_variables]


def device_of(variable):
    """Where a Keras variable lies."""
    return getattr(variable.value, "device", "")


def _times(gradient, factor):
    """A dense or sparse gradient times a number."""
    factor = tf.cast(factor, gradient.dtype)
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def _move(variable, old, new, staleness):
    """Let a variable that the forward pass changes (a running mean, a seed) go as far as this step moved it.

    Nobody else having moved it, it takes the new value to the bit.
    """
    if variable.dtype.is_bool or variable.dtype == tf.string:
        variable.assign(new)
    else:
        variable.assign(tf.where(tf.equal(staleness, 0), new, variable + (new - old)))


def batch_of(data):
    """A batch out of a worker's own iterator, or the one that came from the coordinator."""
    data = next(data) if isinstance(data, tf.data.Iterator) else data
    return tf.nest.map_structure(
        lambda part: None if isinstance(part, tf.experimental.Optional) else part, data
    )


def _first(x):
    return next(part for part in tf.nest.flatten(x) if part is not None)
