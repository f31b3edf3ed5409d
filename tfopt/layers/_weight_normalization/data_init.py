"""Lengths and biases from the first batch, so that every unit starts with mean 0 and variance 1."""

import keras
import numpy as np
import tensorflow as tf

from tfopt.layers._weight_normalization.kernels import DEPTHWISE, TRANSPOSED, widened
from tfopt.layers._weight_normalization.substitution import call_with

# Layers whose output before the activation is linear in their last kernel, unit by unit.
LINEAR = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    *TRANSPOSED,
    *DEPTHWISE,
)


def first_batch(layer, kernels, initialized, inputs):
    """Set g and b of a layer from a batch, unless that has been done.

        g = 1 / σ[t],   b = −μ[t] / σ[t],   t = v·x / ‖v‖

    Units whose t is constant over the batch keep theirs. A batch in which all are, or of no sample, leaves it
    to the next.
    """

    def measure():
        mean, variance = _moments(layer, kernels, inputs)
        # More than rounding makes of equal numbers, in a sum of numbers as large as the largest.
        rounding = 16.0 * float(np.finfo(variance.dtype.as_numpy_dtype).eps)
        varied = variance > rounding**2 * tf.reduce_max(tf.square(mean) + variance)
        scale = tf.math.rsqrt(tf.where(varied, variance, tf.ones_like(variance)))
        g = kernels[-1].g
        chosen = tf.where(varied, scale, tf.cast(tf.reshape(widened(g), [-1]), scale.dtype))
        g.assign(tf.reshape(chosen, g.shape))
        if layer.bias is not None:
            held = tf.cast(widened(layer.bias), scale.dtype)
            layer.bias.assign(tf.where(varied, -mean * scale, held))
        done = tf.reduce_any(varied)
        initialized.assign(done)
        return done

    tf.cond(initialized.value, lambda: tf.constant(True), measure)


def _moments(layer, kernels, inputs):
    """Mean and variance of t, unit by unit."""
    last = kernels[-1]
    values = [(kernel.variable, kernel.weight()) for kernel in kernels[:-1]]
    values.append((last.variable, last.with_lengths(tf.ones(last.units, last.dtype))))
    if layer.bias is not None:
        values.append((layer.bias, tf.zeros_like(layer.bias.value)))
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        t, _, _ = call_with(values, layer, inputs)
    finally:
        layer.activation = activation
    t = tf.cast(t, tf.float64 if t.dtype == tf.float64 else tf.float32)
    units = 1 if getattr(layer, "data_format", None) == "channels_first" else t.shape.rank - 1
    others = [axis for axis in range(t.shape.rank) if axis != units]
    # From one of them on, so that the mean of equal numbers is theirs; from 0 where there is none.
    first = t[tuple(slice(None) if axis == units else slice(1) for axis in range(t.shape.rank))]
    first = tf.reduce_sum(first, others, keepdims=True)
    beyond = t - first
    mean = tf.reduce_mean(beyond, others, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(beyond, mean), others)
    return tf.reshape(first + mean, [-1]), variance
