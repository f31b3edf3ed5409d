"""Mean and variance with all their derivatives."""

import tensorflow as tf


def moments(x, axes, keepdims):
    """Mean and variance of `x` over `axes`, as `tf.nn.moments` computes them, with no gradient stopped.

    The gradient of the variance with respect to the mean, −2 Σ(x − μ)/m, is zero, so `tf.nn.moments` drops
    it. Its own derivative is not zero, and a second derivative needs it.
    """
    with tf.name_scope("moments"):
        mean = tf.reduce_mean(x, axes, keepdims=True, name="mean")
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axes, keepdims=True, name="variance")
        if keepdims:
            return mean, variance
        return tf.squeeze(mean, axes), tf.squeeze(variance, axes)
