"""Temperature: a loss of logits that are divided by T."""

import keras
from keras import ops

from tfopt._check import require, require_positive
from tfopt.losses._composed import ComposedLoss, leaves
from tfopt.losses._glue import option_of, with_mask_of


@keras.saving.register_keras_serializable(package="tfopt")
class Temperature(ComposedLoss):
    """A loss of softened logits, a stage of `tfopt.losses.Continuation`.

        J_T(y, z) = J(y, z / T)

    With T above 1 softmax and sigmoid are flatter and saturate later, so that large logits of the wrong sign
    keep a gradient of about 1/T of the plain one's and small ones lie where the loss is nearly quadratic. At
    T = 1 it is `loss`, bit for bit.

    Args:
        loss: J: a loss of logits, its name or a function. A loss with an argument `from_logits` must have it
            True, and so must those that it is made of: probabilities must not be divided. Losses of Keras'
            by name, such as "binary_crossentropy", are of probabilities.
        temperature: T > 0.
        name: Name of the loss.
        dtype: Of the result.

    Raises:
        ValueError: If T is not positive, or `loss` is no loss or expects probabilities.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> soft = tfopt.losses.Temperature(plain, temperature=4.0)
        >>> float(soft([0], [[8.0, 0.0]])) == float(plain(np.array([0]), np.array([[2.0, 0.0]])))
        True

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2; chapter
    section 8.5.
    """

    def __init__(self, loss, temperature, name="temperature", dtype=None):
        require_positive("Temperature", temperature=temperature)
        super().__init__({"loss": loss}, name, dtype)
        of_logits = all(option_of(leaf, "from_logits", True) for leaf in leaves(self))
        require(of_logits, "Temperature", "loss", loss, "a loss of logits (from_logits=True)")
        self.temperature = temperature

    def reduced(self, y_true, y_pred, sample_weight):
        """The loss of the softened logits."""
        if self.temperature == 1:
            return self.part("loss")(y_true, y_pred, sample_weight)
        logits = ops.convert_to_tensor(y_pred, dtype=self.dtype) / self.temperature
        return self.part("loss")(ops.convert_to_tensor(y_true), with_mask_of(logits, y_pred), sample_weight)

    def get_config(self):
        return super().get_config() | {"temperature": self.temperature}
