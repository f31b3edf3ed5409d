"""The private hooks of Keras that the repairs stand on, and no other file touches."""

import contextlib
import functools
import types

import tensorflow as tf
from keras.src.backend.tensorflow import nn
from keras.src.backend.tensorflow import trainer as trainers
from tensorflow.python.ops.control_flow_v2_func_graphs import CondBranchFuncGraph

from tfopt.repair import _execution, _workers
from tfopt.repair._moments import moments
from tfopt.repair._repair import Patch, Patches

# Every normalisation layer of Keras takes its statistics from this function.
MOMENTS = Patch(nn, "_compute_moments", moments)


def layers_within(layer):
    """A layer and every layer inside it, wrapped ones too, the outer ones first."""
    return list(layer._flatten_layers())


def graphs_around(graph):
    """A graph and those around it, the inner ones first."""
    while graph is not None:
        yield graph
        graph = getattr(graph, "outer_graph", None)


# -- fit on several workers -------------------------------------------------------------------------------

_keras_build = trainers.TensorFlowTrainer._maybe_symbolic_build
_keras_reduce = trainers.reduce_per_replica


@functools.wraps(_keras_build)
def _build(self, iterator=None, data_batch=None):
    if iterator is not None and self._distribute_strategy is not None:
        data_batch = _workers.next_local_batch(self._distribute_strategy, iterator)
    return _keras_build(self, data_batch=data_batch)


@functools.wraps(_keras_reduce)
def _reduce(values, strategy, reduction):
    if reduction in ("auto", "mean") and trainers._collective_all_reduce_multi_worker(strategy):
        return _workers.means(strategy, values)
    return _keras_reduce(values, strategy, reduction)


# Where a model sees its first batch, and where the results of all replicas become one.
WORKERS = Patches(
    Patch(trainers.TensorFlowTrainer, "_maybe_symbolic_build", _build),
    Patch(trainers, "reduce_per_replica", _reduce),
)


class _Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """What Keras sees of a strategy of several workers, with none there; notes how it is asked to reduce."""

    def __init__(self):
        self.asked = []

    @property
    def extended(self):
        """Where Keras asks whether there are several workers."""
        return types.SimpleNamespace(_in_multi_worker_mode=lambda: True)

    def scope(self):
        """Nothing is created in it."""
        return contextlib.nullcontext()

    def reduce(self, reduce_op, value, axis=None):
        """Note what came, and give one leaf back."""
        self.asked.append((value, axis))
        return tf.nest.flatten(value)[0]

    def experimental_local_results(self, value):
        """This worker's only value."""
        return (value,)


def reduces_whole_batches():
    """Whether Keras, as it is now, hands a distributed batch to a reduction that takes one tensor."""
    strategy, leaf = _Workers(), tf.distribute.DistributedValues()
    trainer = types.SimpleNamespace(
        _distribute_strategy=strategy, distribute_strategy=strategy, _symbolic_build=lambda data_batch: None
    )
    trainers.TensorFlowTrainer._maybe_symbolic_build(trainer, iterator=[(0, 1, iter([(leaf, leaf)]))])
    return any(tf.nest.is_nested(value) for value, _ in strategy.asked)


def reduces_scalars_along_an_axis():
    """Whether Keras, as it is now, takes the mean of workers' scalars along their first axis."""
    strategy = _Workers()
    trainers.reduce_per_replica(tf.zeros(()), strategy, "mean")
    return any(axis is not None for _, axis in strategy.asked)


# -- Several steps per execution on several replicas --------------------------------------------------------

_keras_make_function = trainers.TensorFlowTrainer._make_function


@functools.wraps(_keras_make_function)
def _make_function(self, step_function):
    strategy = self.distribute_strategy
    if self.steps_per_execution == 1 or strategy.num_replicas_in_sync == 1:
        return _keras_make_function(self, step_function)

    @tf.autograph.experimental.do_not_convert
    def one_step(data):
        outputs = strategy.run(step_function, args=(data,))
        return trainers.reduce_per_replica(outputs, strategy, reduction="auto")

    if not self.run_eagerly:
        one_step = tf.function(one_step, reduce_retracing=True, jit_compile=self.jit_compile)
    one_step = self._autoconvert_optionals(one_step)
    several_steps = _execution.execution(one_step, self.steps_per_execution)
    if not self.run_eagerly:
        several_steps = tf.function(several_steps, reduce_retracing=True)
    return _execution.train_function(one_step, self.steps_per_execution, several_steps)


# Train and test functions come from it; the one for predictions loops in Python and is right.
MAKE_FUNCTION = Patch(trainers.TensorFlowTrainer, "_make_function", _make_function)


class _Replicas(types.SimpleNamespace):
    """What Keras sees of a strategy of two replicas; notes which graphs around a step are branches."""

    num_replicas_in_sync = 2

    def run(self, function, args):
        """Note the graphs around the step, and take it."""
        for graph in graphs_around(tf.compat.v1.get_default_graph()):
            self.branches.append(isinstance(graph, CondBranchFuncGraph))
        return function(*args)


def steps_within_branches():
    """Whether Keras, as it is now, takes the steps of one execution within branches of a `tf.cond`."""
    strategy = _Replicas(branches=[])
    trainer = types.SimpleNamespace(
        distribute_strategy=strategy,
        steps_per_execution=2,
        unrolled_steps_per_execution=1,
        run_eagerly=False,
        jit_compile=False,
        _autoconvert_optionals=lambda function: function,
    )
    function = trainers.TensorFlowTrainer._make_function(trainer, tf.identity)
    function(iter(tf.data.Dataset.range(2)))
    return any(strategy.branches)
