"""What the chapter says of the normalisations: how they relate, and what leaves them unchanged."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt import layers

TINY = {"epsilon": 1e-12, "dtype": "float64"}


def test_one_group_is_layer_normalisation_over_channels_and_positions():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    group = layers.GroupNormalization(1, scale_shape="element", dtype="float64")
    layer = layers.LayerNormalization(axis=(1, 2, 3), dtype="float64")
    gamma, beta = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
    for one in (group, layer):
        one.build(x.shape)
        one.set_weights([gamma, beta])
    np.testing.assert_allclose(group(x), layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("groups", [6, -1])
def test_as_many_groups_as_channels_are_instance_normalisation(groups, axis):
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 6))
    group = layers.GroupNormalization(groups, axis=axis, dtype="float64")
    np.testing.assert_array_equal(group(x), layers.InstanceNormalization(axis=axis, dtype="float64")(x))


def test_channels_first_is_channels_last_transposed():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    for make in (
        lambda axis: layers.GroupNormalization(2, axis=axis, dtype="float64"),
        lambda axis: layers.BatchNormalization(axis=axis, dtype="float64"),
    ):
        last, first = make(-1), make(1)
        turned = np.moveaxis(np.asarray(first(np.moveaxis(x, -1, 1))), 1, -1)
        np.testing.assert_allclose(last(x), turned, rtol=1e-12)


def normalised_units(weights, x, upstream):
    """BN(x W), and the gradients with respect to W and x."""
    layer = layers.BatchNormalization(**TINY)
    weights, x = tf.constant(weights), tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch([weights, x])
        y = layer(x @ weights, training=True)
    return y, *tape.gradient(y, [weights, x], output_gradients=upstream)


@pytest.fixture
def units():
    rng = np.random.default_rng(2)
    return rng.normal(size=(4, 3)), rng.normal(size=(8, 4)), tf.constant(rng.normal(size=(8, 3)))


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_scaling_the_weights(units, factor):
    """10.1.5: output and gradient to the lower layer stay, the weights' gradient is divided by λ."""
    weights, x, upstream = units
    y, by_weights, by_x = normalised_units(weights, x, upstream)
    scaled, by_scaled, by_x_scaled = normalised_units(factor * weights, x, upstream)
    np.testing.assert_allclose(scaled, y, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(by_x_scaled, by_x, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(factor * by_scaled, by_weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_scaling_the_data(units, factor):
    """10.1.5: output and the weights' gradient stay, the data's gradient is divided by λ."""
    weights, x, upstream = units
    y, by_weights, by_x = normalised_units(weights, x, upstream)
    scaled, by_weights_scaled, by_x_scaled = normalised_units(weights, factor * x, upstream)
    np.testing.assert_allclose(scaled, y, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(by_weights_scaled, by_weights, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(factor * by_x_scaled, by_x, rtol=1e-6, atol=1e-9)


def test_the_weights_gradient_is_orthogonal_to_them(units):
    """What invariance under scaling means for the gradient."""
    weights, x, upstream = units
    _, by_weights, _ = normalised_units(weights, x, upstream)
    np.testing.assert_allclose((weights * by_weights.numpy()).sum(0), 0.0, atol=1e-9)
    assert np.abs(by_weights).max() > 0.1


def test_batch_normalisation_absorbs_a_bias(units):
    """10.1.3: a bias changes nothing and has no gradient."""
    weights, x, upstream = units
    layer, bias = layers.BatchNormalization(**TINY), tf.constant([3.0, -20.0, 1e3], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(bias)
        y = layer(x @ weights + bias, training=True)
    np.testing.assert_allclose(y, normalised_units(weights, x, upstream)[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tape.gradient(y, bias, output_gradients=upstream), 0.0, atol=1e-9)


def test_the_right_scale_and_offset_give_the_input_back():
    """10.1.3: γ = √(σ² + ε), β = μ."""
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(6, 4))
    layer = layers.BatchNormalization(epsilon=0.1, dtype="float64")
    layer.build(x.shape)
    layer.gamma.assign(np.sqrt(x.var(0) + 0.1))
    layer.beta.assign(x.mean(0))
    np.testing.assert_allclose(layer(x, training=True), x, rtol=1e-13)
