"""LabelSmoothing: labels mixed with chance, for sparse labels too."""

import keras
from keras import ops

from tfopt._check import require, require_fraction
from tfopt.losses._composed import ComposedLoss, leaves
from tfopt.losses._glue import function_of, mask_of, option_of, with_mask, with_mask_of


@keras.saving.register_keras_serializable(package="tfopt")
class LabelSmoothing(ComposedLoss):
    """A loss of labels that are mixed with chance, a stage of `tfopt.losses.Continuation`.

        y' = (1 − α) y + α/C,    J_α(y, ŷ) = J(y', ŷ)

    C is the number of classes: the last axis of the predictions (or the `axis` of a loss that has one), or 2
    for a loss of binary decisions (`keras.losses.BinaryCrossentropy`, or predictions where that axis is 1).
    Smooth labels want bounded logits, which keeps units out of saturation and gradients moderate early on. At
    α = 0 it is `loss`, bit for bit.

    Sparse labels, numbers of classes with one axis less than the predictions (or a last axis of 1), are
    mixed as one-hot vectors; the loss must then be a `keras.losses.SparseCategoricalCrossentropy`, whose
    categorical form takes them. What its `ignore_class` names is left out as there: it counts for nothing.

    Args:
        loss: J: a loss, its name or a function.
        smoothing: α in [0, 1).
        name: Name of the loss.
        dtype: Of the result.

    Raises:
        ValueError: If α lies outside [0, 1), `loss` is no loss, or it is made of losses of sparse labels.

    Example:
        >>> import keras, tfopt
        >>> sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> one_hot = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)
        >>> smooth = tfopt.losses.LabelSmoothing(sparse, smoothing=0.3)
        >>> abs(float(smooth([1], [[1.0, 2.0, 0.0]]) - one_hot([[0, 1, 0]], [[1.0, 2.0, 0.0]]))) < 1e-6
        True

    Differs from Keras: `label_smoothing` there is an argument of single losses, and sparse labels have none.

    Source: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016, section 7;
    chapter section 8.5.
    """

    def __init__(self, loss, smoothing, name="label_smoothing", dtype=None):
        require_fraction("LabelSmoothing", smoothing=smoothing)
        super().__init__({"loss": loss}, name, dtype)
        nested = smoothing > 0 and not _is_sparse(self.part("loss")) and any(map(_is_sparse, leaves(self)))
        expected = "a loss that takes mixed labels; smooth the sparse losses it is made of instead"
        require(not nested, "LabelSmoothing", "loss", loss, expected)
        self.smoothing = smoothing

    def reduced(self, y_true, y_pred, sample_weight):
        """The loss of the mixed labels."""
        loss = self.part("loss")
        if self.smoothing == 0:
            return loss(y_true, y_pred, sample_weight)
        y_pred = with_mask_of(ops.convert_to_tensor(y_pred, dtype=self.dtype), y_pred)
        axis = _class_axis(loss, len(y_pred.shape))
        if _is_sparse(loss):
            loss, y_true, y_pred = _categorical(loss, y_true, y_pred, axis)
        classes = 2 if _is_binary(loss, y_pred, axis) else y_pred.shape[axis]
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        mixed = (1.0 - self.smoothing) * y_true + self.smoothing / classes
        return loss(mixed, y_pred, sample_weight)

    def get_config(self):
        return super().get_config() | {"smoothing": self.smoothing}


def _class_axis(loss, rank):
    """Where the classes lie, from the front; a function may mean something else by `axis`."""
    axis = option_of(loss, "axis", -1)
    return (axis if isinstance(axis, int) else -1) % rank


def _is_sparse(loss):
    return function_of(loss) is keras.losses.sparse_categorical_crossentropy


def _is_binary(loss, y_pred, axis):
    binary = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)
    return function_of(loss) in binary or y_pred.shape[axis] == 1


def _categorical(loss, y_true, y_pred, axis):
    """The categorical form of a sparse cross-entropy, its labels, and predictions without ignored ones."""
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == len(y_pred.shape):
        labels = ops.squeeze(labels, axis=axis)
    categorical = keras.losses.CategoricalCrossentropy(
        from_logits=option_of(loss, "from_logits", False),
        reduction=loss.reduction,
        axis=axis,
        dtype=loss.dtype,
    )
    y_pred = _without(option_of(loss, "ignore_class", None), labels, y_pred, axis)
    return categorical, ops.one_hot(labels, y_pred.shape[axis], axis=axis, dtype=loss.dtype), y_pred


def _without(ignored, labels, y_pred, axis):
    """The predictions, masked where the label is the class that is ignored."""
    if ignored is None:
        return y_pred
    kept = ops.not_equal(labels, ignored)
    # As probabilities zeros would be divided by their sum.
    finite = ops.where(ops.expand_dims(kept, axis), y_pred, ops.ones_like(y_pred))
    mask = mask_of(y_pred)
    return with_mask(finite, kept if mask is None else ops.logical_and(mask, kept))
