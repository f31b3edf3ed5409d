"""Guards of the private hooks that tfopt/callbacks/_glue.py stands on: each is named and seen to work."""

import inspect

import keras
import numpy as np
import pytest

from tfopt.callbacks import _glue


def masked():
    layers = [keras.layers.Embedding(4, 3, mask_zero=True), keras.layers.GRU(2), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((5,), dtype="int32"), *layers])


def test_nodes_by_depth_and_functional_give_the_calls_in_order_and_get_keras_mask_leaves_masks_out():
    source = inspect.getsource(_glue)
    assert all(name in source for name in ("_functional", "_nodes_by_depth", "get_keras_mask"))
    model = masked()
    graph = _glue.graph_of(model)
    assert [call.operation for call in graph.calls] == model.layers
    assert all(len(call.inputs) == 1 for call in graph.calls)
    assert graph.calls[0].inputs[0] is model.inputs[0]
    assert graph.calls[-1].outputs[0] is model.outputs[0]
    functional = keras.Model(model.inputs, {"out": model.outputs[0]})
    assert isinstance(functional, _glue.Functional)
    assert list(_glue.graph_of(functional).outputs) == ["out"]


def test_what_has_no_graph_has_none():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    assert _glue.graph_of(Own()) is None
    assert _glue.graph_of(keras.Sequential([keras.layers.Dense(1)])) is None


def test_a_call_is_replayed_with_its_arguments():
    inputs = keras.Input((3,))
    left, right = keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)
    model = keras.Model(inputs, keras.layers.Concatenate(axis=1)([left, right]))
    call = _glue.graph_of(model).calls[-1]
    values = {id(tensor): np.full((1, 2), place) for place, tensor in enumerate(call.inputs)}
    np.testing.assert_array_equal(call.replay(call.operation, values), [[0.0, 0.0, 1.0, 1.0]])


def test_keras_saveable_attachment_goes_into_a_models_weights_and_back(tmp_path):
    found = {}
    model = masked()
    model.more = _glue.Attachment(lambda: {"a": np.arange(3), "b": np.float64(2.5)}, found.update)
    assert isinstance(model.more, _glue.KerasSaveable)
    assert model.more._obj_type() == "Loss"
    model.save_weights(tmp_path / "all.weights.h5")
    model.load_weights(tmp_path / "all.weights.h5")
    np.testing.assert_array_equal(found["a"], np.arange(3))
    assert found["b"] == 2.5
    found.clear()
    del model.more
    model.save_weights(tmp_path / "without.weights.h5")
    model.more = _glue.Attachment(dict, found.update)
    model.load_weights(tmp_path / "without.weights.h5")
    assert found == {}


def test_flatten_layers_gives_the_outer_ones_first():
    inner = keras.layers.Dense(2)
    outer = keras.Sequential([keras.Input((2,)), inner])
    found = _glue.layers_within(outer)
    assert found.index(outer) < found.index(inner)
    assert "_flatten_layers" in inspect.getsource(_glue)


@pytest.mark.parametrize("interactive", [True, False])
def test_print_msg_prints_where_the_progress_bar_does(interactive, capsys):
    assert _glue.say is _glue.print_msg
    (keras.config.enable_interactive_logging if interactive else keras.config.disable_interactive_logging)()
    try:
        _glue.say("Stage 1/2: dense")
    finally:
        keras.config.enable_interactive_logging()
    assert capsys.readouterr().out == ("Stage 1/2: dense\n" if interactive else "")
