"""ReLUBias: a small positive bias, so that rectified units start active."""

import keras

from tfopt._check import require_positive


@keras.saving.register_keras_serializable(package="tfopt")
class ReLUBias(keras.initializers.Initializer):
    """A small positive constant for the biases of rectified units.

        b_j = c

    A ReLU whose input is negative passes no gradient. With weights that are small at first the bias decides
    the sign, so c > 0 starts most units in the part where they learn. c is `value`.

    Differs from Keras: `Constant(0.1)` gives the same numbers; this one refuses those that would do harm.

    Args:
        value: c > 0; 0.1 by default.

    Raises:
        ValueError: If `value` is not positive.

    Example:
        >>> import keras, tfopt
        >>> layer = keras.layers.Dense(
        ...     3, activation="relu", bias_initializer=tfopt.initializers.ReLUBias(0.1))
        >>> layer.build((None, 2))
        >>> print(layer.bias.numpy())
        [0.1 0.1 0.1]

    Source: Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4; chapter section 9.2.
    """

    def __init__(self, value=0.1):
        require_positive("ReLUBias", value=value)
        self.value = value

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.value, dtype=keras.backend.standardize_dtype(dtype))

    def get_config(self):
        return {"value": self.value}
