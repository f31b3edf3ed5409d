"""Biases before batch normalisation: found where their gradient is zero, and nowhere else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.analysis import redundant_biases

BOTH = [keras.layers.BatchNormalization, tfopt.layers.BatchNormalization]


def bias_gradient(model, layer):
    """Largest gradient of the layer's bias, in training mode."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, *model.input_shape[1:]))
    with tf.GradientTape() as tape:
        z = model(x, training=True)
        loss = tf.reduce_sum(tf.sin(z) * rng.normal(size=z.shape))
    return float(tf.reduce_max(abs(tape.gradient(loss, layer.bias.value))))


@pytest.mark.parametrize("kind", BOTH)
def test_dense_with_bias_before_normalisation(kind):
    dense = keras.layers.Dense(5, name="dense")
    model = keras.Sequential([keras.Input((3,)), dense, kind(name="bn"), keras.layers.Dense(2)])
    found = redundant_biases(model)
    assert found.biases == (("dense", ("bn",), 5),)
    assert found.findings[0].name == "redundant bias in dense"
    assert "use_bias=False" in found.findings[0].advice
    assert bias_gradient(model, dense) < 1e-4
    assert bias_gradient(model, model.layers[-1]) > 0.1


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("between", "options"),
    [(None, {}), (keras.layers.MaxPooling2D, {}), (keras.layers.AveragePooling2D, {"padding": "same"})],
)
def test_convolutions_and_pooling(kind, between, options):
    conv = keras.layers.Conv2D(3, 3, name="conv")
    pooling = [between(2, **options)] if between else []
    model = keras.Sequential([keras.Input((7, 7, 1)), conv, *pooling, kind(), keras.layers.Flatten()])
    assert [bias.layer for bias in redundant_biases(model).biases] == ["conv"]
    assert bias_gradient(model, conv) < 1e-4


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "make",
    [
        lambda kind: [keras.layers.Dense(5, use_bias=False), kind()],
        lambda kind: [keras.layers.Dense(5, "relu"), kind()],
        lambda kind: [keras.layers.Dense(5), keras.layers.ReLU(), kind()],
        lambda kind: [keras.layers.Dense(5), kind(trainable=False)],
        lambda kind: [keras.layers.Dense(5), kind(axis=1)],
        lambda kind: [keras.layers.Dense(5), keras.layers.LayerNormalization()],
        lambda kind: [keras.layers.Dense(5)],
    ],
)
def test_biases_that_matter(kind, make):
    layers = [keras.layers.Reshape((3, 2)), *make(kind)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    assert redundant_biases(model).biases == ()
    assert redundant_biases(model).findings == []
    for layer in layers[1:2]:
        if layer.use_bias:
            assert bias_gradient(model, layer) > 1e-3


def test_a_shortcut_needs_the_bias():
    inputs = keras.Input((3,))
    h = keras.layers.Dense(3, name="both")(inputs)
    joined = keras.layers.Add()([h, keras.layers.BatchNormalization()(h)])
    assert redundant_biases(keras.Model(inputs, joined)).biases == ()
    both = [keras.layers.BatchNormalization(name=name)(h) for name in "ab"]
    model = keras.Model(inputs, keras.layers.Add()(both))
    assert redundant_biases(model).biases == (("both", ("a", "b"), 3),)
    assert redundant_biases(keras.Model(inputs, [h, both[0]])).biases == ()


def test_wrapped_layers_and_models_inside():
    inner = keras.Sequential(
        [
            keras.Input((4, 2)),
            keras.layers.TimeDistributed(keras.layers.Dense(3), name="steps"),
            keras.layers.BatchNormalization(),
        ],
        name="inner",
    )
    normalized = tfopt.layers.WeightNormalization(keras.layers.Dense(3), name="normalized")
    model = keras.Sequential([keras.Input((4, 2)), inner, normalized, keras.layers.BatchNormalization()])
    assert [bias.layer for bias in redundant_biases(model).biases] == ["steps", "normalized"]


def test_per_unit_statistics_take_it_off_too():
    dense = keras.layers.Dense(5)
    layers = [dense, tfopt.layers.BatchNormalization(per="unit", axis=1), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((3, 2)), *layers])
    assert len(redundant_biases(model).biases) == 1
    assert bias_gradient(model, dense) < 1e-4


def test_a_model_without_a_graph():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"redundant_biases\(model=.*Sequential or functional"):
        redundant_biases(Own())
