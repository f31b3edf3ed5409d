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


@pytest.mark.parametrize("interactive", [True, False])
def test_print_msg_prints_where_the_progress_bar_does(interactive, capsys):
    assert _glue.say is _glue.print_msg
    (keras.config.enable_interactive_logging if interactive else keras.config.disable_interactive_logging)()
    try:
        _glue.say("Stage 1/2: dense")
    finally:
        keras.config.enable_interactive_logging()
    assert capsys.readouterr().out == ("Stage 1/2: dense\n" if interactive else "")


def test_save_state_writes_the_file_of_save_weights(tmp_path):
    assert "saving_lib._save_state" in inspect.getsource(_glue)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(7)
    (tmp_path / "mine.weights.h5").write_bytes(_glue.weights_file(model))
    weights = model.get_weights()
    model.set_weights([np.zeros_like(value) for value in weights])
    model.optimizer.iterations.assign(0)
    model.load_weights(tmp_path / "mine.weights.h5")
    assert int(model.optimizer.iterations.numpy()) == 7
    for left, right in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(left, right)


def test_initial_epoch_and_train_function_and_dataset_are_what_fit_uses(tmp_path):
    """`_initial_epoch`, `train_function` of a model, `_dataset` of its iterator, `_symbolic_build`."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            place = {"epoch": 1, "batch": 2, "iterators": 1, "position": 2}
            _glue.begin_with(self.model, 1)
            self.watch = _glue.DataWatch(self.model, place, lambda: seen.append("built"))

        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, self.watch.place(epoch + 1, 0)))

    x = np.ones((6, 1))
    history = model.fit(x, x, batch_size=2, epochs=2, verbose=0, callbacks=[Watch()])
    assert seen == ["built", (1, {"epoch": 2, "batch": 0, "iterators": 2, "position": 0})]
    assert history.epoch == [1]
    assert int(model.optimizer.iterations.numpy()) == 1
