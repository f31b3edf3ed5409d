"""Guards of the private parts that tfopt/losses/_glue.py stands on."""

import keras
import numpy as np
import tensorflow as tf

from tfopt.losses import _glue


def test_loss_function_wrapper_is_what_compile_makes_of_a_function():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.ones((3, 2), "float32")
    model.fit(x, x, verbose=0)
    (compiled,) = (entry.loss for entry in model._compile_loss._flat_losses)
    assert type(compiled) is _glue.LossFunctionWrapper is type(_glue.as_loss("mse"))
    assert compiled.fn is _glue.as_loss("mse").fn is keras.losses.mean_squared_error
    assert type(keras.losses.SparseCategoricalCrossentropy()).__mro__[1] is _glue.LossFunctionWrapper


def test_fn_kwargs_are_what_a_loss_hands_its_function():
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1)
    assert loss._fn_kwargs == {"from_logits": True, "label_smoothing": 0.1, "axis": -1}
    assert _glue.option_of(loss, "from_logits", None) is True
    assert _glue.option_of(_glue.as_loss("binary_crossentropy"), "from_logits", None) is False


def test_get_keras_mask_and_set_keras_mask_are_where_losses_look():
    masked = keras.layers.Masking()(np.array([[[1.0], [0.0]]], "float32"))
    np.testing.assert_array_equal(_glue.get_keras_mask(masked), [[True, False]])
    moved = _glue.with_mask_of(tf.constant([[[5.0], [7.0]]]), masked)
    assert float(keras.losses.MeanSquaredError()(np.zeros((1, 2, 1)), moved)) == 25.0
    _glue.set_keras_mask(moved, tf.constant([[True, True]]))
    assert float(keras.losses.MeanSquaredError()(np.zeros((1, 2, 1)), moved)) == 37.0
