"""Guards of the private hooks that tfopt/repair/_glue.py stands on: each is named and seen to work."""

import inspect

import keras
import tensorflow as tf

import tfopt
from tfopt.repair import _glue


def test_compute_moments_is_where_keras_takes_its_statistics(monkeypatch):
    calls = []

    def seen(x, axes, keepdims):
        calls.append((tuple(axes), keepdims))
        return tf.zeros((1, 2)), tf.ones((1, 2))

    owner, name = _glue.MOMENTS.owner, _glue.MOMENTS.name
    assert name == "_compute_moments"
    assert list(inspect.signature(getattr(owner, name)).parameters) == ["x", "axes", "keepdims"]
    monkeypatch.setattr(owner, name, seen)
    keras.ops.moments(tf.ones((3, 2)), axes=[0], keepdims=True)
    assert calls == [((0,), True)]


def test_flatten_layers_reaches_wrapped_layers_the_outer_ones_first():
    inner = keras.layers.BatchNormalization()
    wrapped = keras.layers.TimeDistributed(inner)
    model = keras.Sequential([keras.Input((3, 2)), keras.Sequential([wrapped])])
    found = _glue.layers_within(model)
    assert found.index(model) < found.index(wrapped) < found.index(inner)
    assert "_flatten_layers" in inspect.getsource(_glue)


def test_maybe_symbolic_build_and_symbolic_build_see_the_first_batch(strategy):
    owner = _glue.trainers.TensorFlowTrainer
    parameters = inspect.signature(owner._maybe_symbolic_build).parameters
    assert list(parameters) == ["self", "iterator", "data_batch"]
    assert "_symbolic_build(data_batch=" in inspect.getsource(owner._maybe_symbolic_build)
    with strategy.scope():
        model = keras.Sequential([keras.layers.Dense(1)])
        assert model._distribute_strategy is strategy
    model.compile("sgd", "mse")
    with tfopt.repair_keras():
        model.fit(tf.ones((4, 2)), tf.ones((4, 1)), verbose=0)
    assert model.layers[0].kernel.shape == (2, 1)


def test_reduce_per_replica_is_where_results_become_one(monkeypatch):
    owner = _glue.trainers
    assert list(inspect.signature(owner.reduce_per_replica).parameters) == ["values", "strategy", "reduction"]
    assert not owner._collective_all_reduce_multi_worker(tf.distribute.get_strategy())
    assert owner._collective_all_reduce_multi_worker(_glue._Workers())
    calls = []
    monkeypatch.setattr(
        owner, "reduce_per_replica", lambda values, *_, **options: calls.append(options) or values
    )
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(tf.ones((4, 2)), tf.ones((4, 1)), verbose=0)
    assert calls == [{"reduction": "auto"}]


def test_make_function_makes_train_and_test_functions_and_autoconvert_optionals_wraps_the_step(monkeypatch):
    owner = _glue.trainers.TensorFlowTrainer
    assert list(inspect.signature(owner._make_function).parameters) == ["self", "step_function"]
    made = []
    monkeypatch.setattr(owner, "_make_function", lambda self, step: made.append(step))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.make_train_function()
    model.make_test_function()
    assert made == [model.train_step, model.test_step]
    absent = tf.experimental.Optional.from_value(1)
    assert model._autoconvert_optionals(lambda data: data)((absent, 2)) == (None, 2)


def test_cond_branch_func_graph_is_the_graph_of_a_branch():
    seen = []

    def branch():
        seen.append(isinstance(tf.compat.v1.get_default_graph(), _glue.CondBranchFuncGraph))
        return tf.constant(1)

    tf.function(lambda x: tf.cond(x, branch, branch)).get_concrete_function(tf.TensorSpec((), tf.bool))
    assert seen == [True, True]
    seen.clear()
    tf.function(branch).get_concrete_function()
    assert seen == [False]


def test_outer_graph_is_the_graph_around_a_branch():
    seen = []

    def branch():
        seen.append(list(_glue.graphs_around(tf.compat.v1.get_default_graph())))
        return tf.constant(1)

    function = tf.function(lambda x: tf.cond(x, branch, branch))
    graph = function.get_concrete_function(tf.TensorSpec((), tf.bool)).graph
    assert [graphs[1] for graphs in seen] == [graph, graph]
