"""Maxout: the maximum over its own pieces, gradients, and what it can represent."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.layers import Maxout


def reference(x, kernel, bias, units, pieces):
    z = np.asarray(x, np.float64) @ kernel.astype(np.float64) + bias
    return np.stack([z[..., i * pieces : (i + 1) * pieces].max(axis=-1) for i in range(units)], axis=-1)


def layer_and_data(shape=(7, 4), units=3, pieces=5, **options):
    keras.utils.set_random_seed(0)
    layer = Maxout(units, pieces, bias_initializer="random_normal", **options)
    x = np.random.default_rng(0).normal(size=shape)
    layer.build(shape)
    return layer, x


@pytest.mark.parametrize("shape", [(7, 4), (0, 4), (2, 3, 4), (2, 3, 2, 4)])
@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_equals_numpy(shape, mode):
    layer, x = layer_and_data(shape)
    call = {"eager": layer, "graph": tf.function(layer), "jit": tf.function(layer, jit_compile=True)}[mode]
    y = call(tf.constant(x, tf.float32)).numpy()
    expected = reference(x, *layer.get_weights(), 3, 5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert y.shape == layer.compute_output_shape(shape)


def test_the_gradient_reaches_the_largest_piece_alone():
    layer, x = layer_and_data()
    with tf.GradientTape() as tape:
        y = layer(x)
        loss = tf.reduce_sum(y)
    found = tape.gradient(loss, layer.bias.value).numpy()
    z = x @ layer.kernel.numpy() + layer.bias.numpy()
    winners = z.reshape(7, 3, 5).argmax(axis=-1)
    expected = np.array([[(winners[:, i] == j).sum() for j in range(5)] for i in range(3)]).ravel()
    np.testing.assert_allclose(found, expected)


def test_pieces_that_tie_share_the_gradient():
    layer = Maxout(1, 4, kernel_initializer="ones")
    x = tf.ones((1, 2))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x))
    np.testing.assert_allclose(tape.gradient(loss, layer.bias.value).numpy(), [0.25] * 4)


def test_output_is_convex_and_at_least_each_piece():
    layer, x = layer_and_data()
    a, b = x[:3], x[3:6]
    middle = layer((a + b) / 2).numpy()
    assert (middle <= (layer(a).numpy() + layer(b).numpy()) / 2 + 1e-6).all()


def test_it_learns_the_absolute_value_that_a_linear_layer_cannot():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), Maxout(1, 2)])
    model.compile(keras.optimizers.Adam(0.05), loss="mse")
    x = np.linspace(-1, 1, 64)[:, None]
    data = tf.data.Dataset.from_tensors((x, np.abs(x))).repeat()
    model.fit(data, steps_per_epoch=150, verbose=0)
    assert model.evaluate(x, np.abs(x), batch_size=64, verbose=0) < 1e-3


def test_saving_config_and_parts(tmp_path):
    layer, x = layer_and_data(
        kernel_regularizer="l2", bias_constraint="max_norm", activity_regularizer="l1", name="widest"
    )
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x).numpy(), model(x).numpy())
    assert loaded.layers[0].get_config() == layer.get_config()
    assert len(layer.losses) == len(loaded.layers[0].losses) == 2
    assert [w.name for w in Maxout(2, use_bias=False).get_config()["name"] and layer.weights] == [
        "kernel",
        "bias",
    ]


def test_without_bias():
    layer = Maxout(2, 3, use_bias=False)
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(layer(x).numpy(), reference(x, layer.kernel.numpy(), 0, 2, 3), rtol=1e-6)
    assert len(layer.weights) == 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_precisions(policy):
    layer, x = layer_and_data(dtype=policy)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == keras.DTypePolicy(policy).compute_dtype
    np.testing.assert_allclose(
        tf.cast(y, tf.float64).numpy(),
        reference(x, *layer.get_weights(), 3, 5),
        atol=1e-12 if policy == "float64" else 0.05,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Maxout(0), r"Maxout\(units=0\)"),
        (lambda: Maxout(2, 1), r"Maxout\(pieces=1\): expected an integer with pieces >= 2"),
        (lambda: Maxout(2).build((None, None)), r"Maxout\(input_shape=\(None, None\)\)"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
