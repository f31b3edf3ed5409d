"""Blend: a mixture of an easy objective and the true one."""

import keras
from keras import ops

from tfopt._check import is_number, require
from tfopt.losses._composed import ComposedLoss


@keras.saving.register_keras_serializable(package="tfopt")
class Blend(ComposedLoss):
    """A mixture of an easy objective with the true one, a stage of `tfopt.losses.Continuation`.

        J_λ = (1 − λ) J_easy + λ J_hard

    At λ = 1 it is `hard` and at λ = 0 it is `easy`, bit for bit, and the other is not computed.

    Args:
        easy: J_easy: a loss, its name or a function.
        hard: J_hard, likewise.
        weight: λ in [0, 1].
        name: Name of the loss.
        dtype: Of the result.

    Raises:
        ValueError: If λ lies outside [0, 1], or one of the two is no loss.

    Example:
        >>> import tfopt
        >>> blend = tfopt.losses.Blend("mae", "mse", weight=0.25)
        >>> float(blend([[0.0]], [[2.0]]))  # 0.75 · 2 + 0.25 · 4
        2.5

    Source: Bengio, Louradour, Collobert and Weston, Curriculum Learning, 2009, section 3; chapter section
    8.5.
    """

    def __init__(self, easy, hard, weight, name="blend", dtype=None):
        fits = is_number(weight) and 0 <= weight <= 1
        require(fits, "Blend", "weight", weight, "a number with 0 <= weight <= 1")
        super().__init__({"easy": easy, "hard": hard}, name, dtype)
        self.weight = weight

    def reduced(self, y_true, y_pred, sample_weight):
        """The weighted sum of the two."""
        if self.weight in (0, 1):
            return self.part("hard" if self.weight else "easy")(y_true, y_pred, sample_weight)
        easy, hard = (self.part(name)(y_true, y_pred, sample_weight) for name in ("easy", "hard"))
        return (1.0 - self.weight) * easy + self.weight * ops.cast(hard, easy.dtype)

    def get_config(self):
        return super().get_config() | {"weight": self.weight}
