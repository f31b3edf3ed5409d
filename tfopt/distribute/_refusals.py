"""What asynchronous training refuses before it begins."""

import keras
import tensorflow as tf

from tfopt import callbacks
from tfopt._check import require
from tfopt.distribute import _glue
from tfopt.distribute._step import device_of
from tfopt.optimizers import COMPOSED
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.repair._glue import layers_within

OWNER = "AsynchronousTrainer"
# They change or measure the model between two steps, where asynchronous training has no between.
BETWEEN_STEPS = (
    callbacks.CommonRandomNumbers,
    callbacks.ContinuationStages,
    callbacks.CurvatureMonitor,
    callbacks.GradientFlow,
    callbacks.GradientNoiseScale,
    callbacks.GreedyPretraining,
    callbacks.LearningRateFinder,
)


def check_model(model, strategy):
    """Raise ValueError unless the model can be trained asynchronously."""
    optimizer = getattr(model, "optimizer", None)
    require(optimizer is not None, OWNER, "model", model, "a compiled model")
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, MachineOptimizer):
        one_gradient = not inner.machine.flat and type(inner).__name__ not in COMPOSED
        expected = "a rule that takes one gradient at a time; this one needs synchronous evaluations in `fit`"
        require(one_gradient, OWNER, "optimizer", type(inner).__name__, expected)
    else:
        accumulated = getattr(inner, "gradient_accumulation_steps", None)
        expected = "None for Keras' own optimizers; tfopt's of the same name accumulate on the servers"
        require(not accumulated, OWNER, "gradient_accumulation_steps", accumulated, expected)
    expected = "a model with Keras' own train step; compute_loss and compute_metrics may be replaced"
    require(not _glue.has_own_train_step(model), OWNER, "model", model, expected)
    require(not model.run_eagerly, OWNER, "run_eagerly", model.run_eagerly, "False: steps travel as graphs")
    servers = isinstance(strategy, tf.distribute.ParameterServerStrategy)
    expected = "a model made under scope() of the strategy from tfopt.distribute.connect, or a function"
    require(servers, OWNER, "model", model, expected)
    expected = "one made under the strategy's scope, as the model was"
    require(_glue.strategy_of(optimizer) is strategy, OWNER, "optimizer", type(optimizer).__name__, expected)


def require_on_servers(model):
    """Raise ValueError if a variable was not made under the strategy's scope."""
    outside = [
        variable.path
        for variable in (*model.trainable_variables, *model.optimizer.variables)
        if "/job:ps" not in device_of(variable)
    ]
    require(
        not outside,
        OWNER,
        "model",
        outside,
        "every variable on a parameter server: model and optimizer made under the strategy's scope",
    )


def require_started(model):
    """Raise ValueError if a layer would take its start from the first batch, which a worker cannot set."""
    waiting = [layer.name for layer in layers_within(model) if getattr(layer, "starts_from_batch", False)]
    expected = (
        "layers that have their start: call model(batch, training=True) once before fit, or pass "
        "data_init=False"
    )
    require(not waiting, OWNER, "model", waiting, expected)


def check_callbacks(given):
    """The callbacks one by one; ValueError if one needs the model to rest between steps."""
    listed = given.callbacks if isinstance(given, keras.callbacks.CallbackList) else given
    found = keras.tree.flatten(listed) if listed else []
    for callback in found:
        name, expected = type(callback).__name__, "none that needs the weights to stand still between steps"
        require(not isinstance(callback, BETWEEN_STEPS), OWNER, "callbacks", name, expected)
    return found
