"""Surrogate: the value of the loss one means, the gradient of the loss one can minimise."""

import keras
import tensorflow as tf

from tfopt._check import require
from tfopt.losses._composed import ComposedLoss


@tf.custom_gradient
def _reported(value, surrogate):
    """`value` forwards, the gradient of `surrogate` backwards."""

    def gradient(upstream):
        return tf.zeros_like(value), upstream

    # A copy: the outputs of a custom gradient may not be its inputs.
    return tf.identity(value), gradient


@keras.saving.register_keras_serializable(package="tfopt")
class Surrogate(ComposedLoss):
    """Reports the loss that is meant and trains on another one that has a gradient.

        L(y, ŷ) = value(y, ŷ),    ∂L/∂ŷ := ∂ surrogate(y, ŷ)/∂ŷ

    So `loss` and `val_loss` are, say, the 0-1 error, in the progress bar, in the history and for
    `EarlyStopping`, while the weights move bit for bit as with the surrogate alone. Derivatives of higher
    order are the surrogate's as well. Each of the two has its own reduction and gets the sample weights.

    Methods with a line search compare values along the gradient and need both from one function: give them
    the surrogate as the loss, and `tfopt.metrics.ZeroOne` as a metric.

    Args:
        value: The loss that is meant, such as `tfopt.losses.ZeroOne()`: a loss, its name or a function. It
            need not have a gradient.
        surrogate: The loss to descend on: a loss, its name or a function.
        name: Name of the loss.
        dtype: Of the result.

    Raises:
        ValueError: If one of the two is no loss; at the call, if their values are of different shapes.

    Example:
        >>> import keras, tensorflow as tf, tfopt
        >>> hinge = tfopt.losses.Surrogate(tfopt.losses.ZeroOne("binary", threshold=0.0), "hinge")
        >>> scores = tf.Variable([[0.5], [-2.0]])
        >>> with tf.GradientTape() as tape:
        ...     loss = hinge(tf.ones((2, 1)), scores)
        >>> float(loss), tape.gradient(loss, scores).numpy().ravel().tolist()
        (0.5, [-0.5, -0.5])

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.1.2; chapter section 1.2.
    """

    def __init__(self, value, surrogate, name="surrogate", dtype=None):
        super().__init__({"value": value, "surrogate": surrogate}, name, dtype)

    def reduced(self, y_true, y_pred, sample_weight):
        """The true value, with the surrogate's gradient."""
        value = self.part("value")(y_true, y_pred, sample_weight)
        surrogate = self.part("surrogate")(y_true, y_pred, sample_weight)
        shapes = tuple(value.shape), tuple(surrogate.shape)
        expected = "values of one shape; the two losses differ in their reductions"
        require(shapes[0] == shapes[1], "Surrogate", "shapes", shapes, expected)
        return _reported(tf.cast(tf.stop_gradient(value), surrogate.dtype), surrogate)
