"""Curriculum: the easiest samples of each batch first."""

import keras
import tensorflow as tf

from tfopt._check import is_number, require
from tfopt.losses._composed import ComposedLoss, resolved, serialized
from tfopt.losses._glue import mask_of, with_mask_of


@keras.saving.register_keras_serializable(package="tfopt")
class Curriculum(ComposedLoss):
    """A loss of the easiest samples of each batch, a stage of `tfopt.losses.Continuation`.

        w_i = B/k for the k = ⌈λB⌉ samples of the batch with the smallest difficulty d_i,  0 for the others
        J_λ = (1/B) Σ w_i J(y_i, ŷ_i),    i = 1 … B

    so the loss is the mean over the samples chosen; without `difficulty` d_i is the sample's own loss as it
    is now (self-paced learning), which keeps mislabelled and odd samples out at first. Of equal difficulties
    the earlier sample counts as the easier. At λ = 1 it is `loss`, bit for bit.

    The choice is made within a batch, and under several replicas within each one's part of it. The weights
    multiply `sample_weight`. No gradient flows through d_i. Where predictions carry a Keras mask, or `loss`
    has an `ignore_class`, the positions masked count for nothing: d_i is the mean over the others, samples
    without any are not among the B, and the loss is the mean over what is left of the samples chosen.

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
        self.parts["difficulty"] = resolved("Curriculum", "difficulty", measured)

    def reduced(self, y_true, y_pred, sample_weight):
        """The loss of the samples chosen."""
        loss = self.part("loss")
        if self.share == 1:
            return loss(y_true, y_pred, sample_weight)
        values = _values(loss, y_true, y_pred)
        mask = mask_of(y_pred, values)
        measure = self.part("difficulty")
        difficulties = values if self.difficulty is None else _values(measure, y_true, y_pred)
        weights = self._weights(tf.stop_gradient(difficulties), mask)
        weights = tf.broadcast_to(_of_rank(weights, len(values.shape)), tf.shape(values))
        if sample_weight is not None:
            weights = _product(weights, tf.cast(sample_weight, weights.dtype))
        return loss(y_true, y_pred, weights)

    def _weights(self, difficulties, mask):
        """B/k for the k easiest samples, 0 for the others."""
        sizes = _sizes(difficulties, mask)
        # Samples that are masked altogether are none.
        difficulties = tf.where(sizes > 0, _means(difficulties, mask), float("inf"))
        count = tf.math.count_nonzero(sizes, dtype=tf.float32)
        # A hair less, so that 0.3 of 10 is 3 in spite of rounding.
        chosen = tf.maximum(tf.math.ceil(self.share * count - 1e-4), 1.0)
        ranks = tf.argsort(tf.argsort(difficulties, stable=True), stable=True)
        easy = tf.cast(tf.cast(ranks, tf.float32) < chosen, tf.float32)
        return easy * tf.math.divide_no_nan(tf.reduce_sum(sizes), tf.reduce_sum(easy * sizes))

    def get_config(self):
        return super().get_config() | {"share": self.share, "difficulty": serialized(self.difficulty)}


def _values(loss, y_true, y_pred):
    """What the loss has before its reduction."""
    truth, prediction = (tf.cast(tensor, loss.dtype) for tensor in (y_true, y_pred))
    return loss.call(truth, with_mask_of(prediction, y_pred))


def _sizes(values, mask):
    """How many positions of each sample count; 1 where there is no mask."""
    if mask is None:
        return tf.ones(tf.shape(values)[0])
    return tf.reduce_sum(tf.cast(mask, tf.float32), axis=list(range(1, len(mask.shape))))


def _means(values, mask):
    """The mean of each sample, over what the mask leaves."""
    rank = len(values.shape)
    axes = list(range(1, rank))
    if mask is None or len(mask.shape) > rank:
        return tf.reduce_mean(values, axis=axes)
    kept = tf.broadcast_to(_of_rank(tf.cast(mask, tf.bool), rank), tf.shape(values))
    total = tf.reduce_sum(tf.where(kept, values, 0), axis=axes)
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(kept, values.dtype), axis=axes))


def _product(weights, sample_weight):
    """The product, where sample weights may be of each sample or of each position in it."""
    rank = max(len(weights.shape), len(sample_weight.shape))
    return _of_rank(weights, rank) * _of_rank(sample_weight, rank)


def _of_rank(tensor, rank):
    """`tensor` with axes of 1 behind its own, up to this rank."""
    return tf.reshape(tensor, tf.concat([tf.shape(tensor), [1] * (rank - len(tensor.shape))], axis=0))
