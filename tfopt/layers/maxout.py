"""Maxout: each unit is the largest of several linear functions."""

import keras
import tensorflow as tf

from tfopt._check import require, require_integer


@keras.saving.register_keras_serializable(package="tfopt")
class Maxout(keras.layers.Layer):
    """Dense layer whose units take the maximum over linear pieces of their own.

    With x of n features, the layer's u = `units` and p = `pieces`::

        h_i = max_{j=1…p} (xᵀ W_{·ij} + b_ij),   i = 1 … u

    The layer learns its activation, convex and piecewise linear; two pieces can be a ReLU or an absolute
    value. It is linear almost everywhere and nowhere saturated, which makes it easy to optimize; it costs p
    times the parameters of a dense layer. Where pieces tie, the gradient is shared between them.

    Input of (…, n), output of (…, u), for any number of axes. W is one kernel of (n, u p), the pieces of a
    unit side by side, so that initializers that look at the inputs count n; b is of (u p,). The other
    arguments are those of `keras.layers.Dense`.

    Args:
        units: u >= 1.
        pieces: p >= 2.
        use_bias: Whether there is a b.
        kernel_initializer: Of W.
        bias_initializer: Of b.
        kernel_regularizer: Of W.
        bias_regularizer: Of b.
        activity_regularizer: Of the output.
        kernel_constraint: Of W.
        bias_constraint: Of b.

    Raises:
        ValueError: If `units` or `pieces` lies outside its range, or the features are not known when built.

    Example:
        >>> import numpy as np, tfopt
        >>> layer = tfopt.layers.Maxout(units=1, pieces=2, use_bias=False)
        >>> layer.build((None, 1))
        >>> layer.set_weights([np.array([[1.0, -1.0]])])  # max(x, −x)
        >>> print(layer(np.array([[3.0], [-2.0]])).numpy().ravel())
        [3. 2.]

    Source: Goodfellow, Warde-Farley, Mirza, Courville and Bengio, Maxout Networks, 2013, section 3; chapter
    section 8.4.
    """

    def __init__(
        self,
        units,
        pieces=2,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        require_integer("Maxout", 1, units=units)
        require_integer("Maxout", 2, pieces=pieces)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = units
        self.pieces = pieces
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.supports_masking = True

    def build(self, input_shape):
        fits = len(input_shape) >= 2 and input_shape[-1] is not None
        require(
            fits, "Maxout", "input_shape", tuple(input_shape), "(samples, …, features) with known features"
        )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units * self.pieces),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units * self.pieces,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def call(self, inputs):
        z = keras.ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            z = keras.ops.add(z, self.bias)
        outer = keras.ops.shape(z)[:-1]
        # keras.ops.max refuses an empty batch.
        return tf.reduce_max(keras.ops.reshape(z, (*outer, self.units, self.pieces)), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        config = super().get_config() | {
            "units": self.units,
            "pieces": self.pieces,
            "use_bias": self.use_bias,
        }
        for name in ("kernel_initializer", "bias_initializer"):
            config[name] = keras.initializers.serialize(getattr(self, name))
        for name in ("kernel_regularizer", "bias_regularizer", "activity_regularizer"):
            config[name] = keras.regularizers.serialize(getattr(self, name))
        for name in ("kernel_constraint", "bias_constraint"):
            config[name] = keras.constraints.serialize(getattr(self, name))
        return config
