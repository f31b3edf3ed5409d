"""Guards of the private hooks that tfopt/optimizers/_glue.py stands on: each is named and seen to work."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.optimizers import _glue

BASE = keras.optimizers.Optimizer


@pytest.mark.parametrize(
    "hook",
    [
        "_check_variables_are_known",
        "_filter_empty_gradients",
        "_get_current_learning_rate",
        "_get_variable_index",
        "_overwrite_variables_directly_with_gradients",
        "_untrack_variable",
        "_use_weight_decay",
        "_var_key",
    ],
)
def test_keras_still_has_the_method(hook):
    assert callable(getattr(BASE, hook))
    assert hook in inspect.getsource(_glue)


def test_keras_still_keeps_these_attributes():
    """The strategy, the counters, the variables it was built with and their indices, the state lists."""
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, gradient_accumulation_steps=2)
    weight = keras.Variable(1.0)
    optimizer.build([weight])
    assert optimizer._distribution_strategy is tf.distribute.get_strategy()
    assert isinstance(optimizer._iterations, keras.Variable)
    assert isinstance(optimizer._learning_rate, keras.Variable)
    assert optimizer._trainable_variables == [weight]
    assert optimizer._trainable_variables_indices == {optimizer._var_key(weight): 0}
    assert len(optimizer._model_variables_moving_average) == len(optimizer._accumulated_gradients) == 1


def test_learning_rate_property_asks_get_current_learning_rate():
    class Fixed(BASE):
        def _get_current_learning_rate(self):
            return 42.0

    assert Fixed(0.1).learning_rate == 42.0


def test_no_automatic_dependency_tracking_keeps_the_model_s_variables_out_of_the_optimizer_s():
    """Without it Keras' tracker takes every variable in an attribute's list for the optimizer's own."""
    optimizer = tfopt.Adam()
    weight = keras.Variable(np.ones(3))
    optimizer.build([weight])
    assert not any(v is weight for v in optimizer.variables)
    assert len(optimizer.variables) == len(optimizer.named_state()) == 4


def test_maybe_merge_call_runs_once_for_all_replicas(strategy):
    calls = []

    @tf.function
    def run():
        def merged(given, value):
            calls.append((given is strategy, len(strategy.experimental_local_results(value))))

        merge = tf.__internal__.distribute.interim.maybe_merge_call
        strategy.run(lambda: merge(merged, strategy, tf.constant(1.0)))

    run()
    assert calls == [(True, 2)]


def test_extended_update_unwraps_nested_values_for_each_device(strategy):
    with strategy.scope():
        anchor, other = tf.Variable(0.0), tf.Variable(0.0)
    seen = []

    def local(_, nested):
        seen.append(nested["list"][0].device[-5:])
        nested["list"][0].assign(3.0)

    strategy.extended.update(anchor, local, args=({"list": [other], "none": None},), group=False)
    assert seen == ["CPU:0", "CPU:1"]
    assert [float(v) for v in strategy.experimental_local_results(other)] == [3.0, 3.0]


def test_loss_scale_optimizer_announces_itself_by_clearing_the_factor():
    """The only sign Keras gives; `_scaled_outside` depends on it."""
    alone, wrapped = tfopt.SGD(), tfopt.SGD()
    keras.optimizers.LossScaleOptimizer(wrapped)
    assert (alone._scaled_outside, wrapped._scaled_outside) == (False, True)


def test_trainer_finalizes_before_on_train_end():
    seen = []

    class Probe(keras.optimizers.SGD):
        def finalize_variable_values(self, var_list):
            seen.append("finalize")

    end = keras.callbacks.LambdaCallback(on_train_end=lambda logs: seen.append("end"))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(Probe(), "mse")
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=[end])
    assert seen == ["finalize", "end"]
