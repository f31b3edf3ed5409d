"""Curriculum: the easiest samples of each batch first."""

import keras
import tensorflow as tf

from tfopt._check import is_number, require
from tfopt.losses._composed import ComposedLoss, resolved, serialized


@keras.saving.register_keras_serializable(package="tfopt")
class Curriculum(ComposedLoss):
    """A loss of the easiest samples of each batch, a stage of `tfopt.losses.Continuation`.

        w_i = B/k for the k = ⌈λB⌉ samples of the batch with the smallest difficulty d_i,  0 for the others
        J_λ = (1/B) Σ w_i J(y_i, ŷ_i),    i = 1 … B

    so the loss is the mean over the samples chosen; without `difficulty` d_i is the sample's own loss as it
    is now (self-paced learning), which keeps mislabelled and odd samples out at first. Of equal difficulties
    the earlier sample counts as the easier. At λ = 1 it is `loss`, bit for bit.

    The choice is made within a batch, and under several replicas within each one's part of it. The weights
    multiply `sample_weight`. No gradient flows through d_i.

    Args:
        loss: J: a loss, its name or a function. Difficulties are taken of its values before the reduction,
            averaged over all axes but the batch.
        share: λ in (0, 1].
        difficulty: None, or a loss, its name or a function of y_true and y_pred whose values before the
            reduction are the difficulties; such as one of the labels alone, for a curriculum fixed
            beforehand.
        name: Name of the loss.
        dtype: Of the result.

    Raises:
        ValueError: If λ lies outside (0, 1], or `loss` or `difficulty` is no loss.

    Example:
        >>> import tfopt
        >>> half = tfopt.losses.Curriculum("mse", share=0.5)
        >>> float(half([[0.0], [0.0], [0.0], [0.0]], [[1.0], [9.0], [3.0], [7.0]]))  # (1 + 9) / 2
        5.0

    Source: Bengio, Louradour, Collobert and Weston, Curriculum Learning, 2009; Kumar, Packer and Koller,
    Self-Paced Learning for Latent Variable Models, 2010; chapter section 8.5.
    """

    def __init__(self, loss, share, difficulty=None, name="curriculum", dtype=None):
        fits = is_number(share) and 0 < share <= 1
        require(fits, "Curriculum", "share", share, "a number with 0 < share <= 1")
        super().__init__({"loss": loss}, name, dtype)
        self.share = share
        self.difficulty = difficulty
        measured = loss if difficulty is None else difficulty
        self._measure = resolved("Curriculum", "difficulty", measured)

    def reduced(self, y_true, y_pred, sample_weight):
        """The loss of the samples chosen."""
        loss = self.part("loss")
        if self.share == 1:
            return loss(y_true, y_pred, sample_weight)
        weights = self._weights(y_true, y_pred)
        if sample_weight is not None:
            weights = _times(weights, tf.cast(sample_weight, weights.dtype))
        return loss(y_true, y_pred, weights)

    def _weights(self, y_true, y_pred):
        """B/k for the k easiest samples, 0 for the others."""
        measure = self._measure
        truth, prediction = (tf.cast(t, measure.dtype) for t in (y_true, y_pred))
        difficulties = tf.stop_gradient(measure.call(truth, prediction))
        axes = list(range(1, len(difficulties.shape)))
        difficulties = tf.reduce_mean(difficulties, axis=axes)
        count = tf.shape(difficulties)[0]
        total = tf.cast(count, tf.float32)
        # A hair less, so that 0.3 of 10 is 3 in spite of rounding.
        chosen = tf.maximum(tf.math.ceil(self.share * total - 1e-4), 1.0)
        ranks = tf.argsort(tf.argsort(difficulties, stable=True), stable=True)
        easy = tf.cast(tf.cast(ranks, tf.float32) < chosen, tf.float32)
        return easy * total / chosen

    def get_config(self):
        return super().get_config() | {"share": self.share, "difficulty": serialized(self.difficulty)}


def _times(weights, sample_weight):
    """The product, where sample weights may be of each position in a sample."""
    ones = [1] * (len(sample_weight.shape) - 1)
    return tf.reshape(weights, [-1, *ones]) * sample_weight
