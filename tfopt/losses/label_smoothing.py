"""LabelSmoothing: labels mixed with chance, for sparse labels too."""

import keras
from keras import ops

from tfopt._check import require_fraction
from tfopt.losses._composed import ComposedLoss
from tfopt.losses._glue import with_mask_of


@keras.saving.register_keras_serializable(package="tfopt")
class LabelSmoothing(ComposedLoss):
    """A loss of labels that are mixed with chance, a stage of `tfopt.losses.Continuation`.

        y' = (1 − α) y + α/C,    J_α(y, ŷ) = J(y', ŷ)

    C is the number of classes: the last axis of the predictions, or 2 for a loss of binary decisions
    (`keras.losses.BinaryCrossentropy`, or predictions whose last axis is 1). Smooth labels want bounded
    logits, which keeps units out of saturation and gradients moderate early on. At α = 0 it is `loss`, bit
    for bit.

    Sparse labels, numbers of classes with one axis less than the predictions (or a last axis of 1), are
    mixed as one-hot vectors; the loss must then be a `keras.losses.SparseCategoricalCrossentropy`, whose
    categorical form takes them.

    Args:
        loss: J: a loss, its name or a function.
        smoothing: α in [0, 1).
        name: Name of the loss.
        dtype: Of the result.

    Raises:
        ValueError: If α lies outside [0, 1), or `loss` is no loss.

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
        self.smoothing = smoothing

    def reduced(self, y_true, y_pred, sample_weight):
        """The loss of the mixed labels."""
        loss = self.part("loss")
        if self.smoothing == 0:
            return loss(y_true, y_pred, sample_weight)
        y_pred = with_mask_of(ops.convert_to_tensor(y_pred, dtype=self.dtype), y_pred)
        if _is_sparse(loss):
            loss, y_true = _categorical(loss, y_true, y_pred)
        classes = 2 if _is_binary(loss, y_pred) else y_pred.shape[-1]
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        mixed = (1.0 - self.smoothing) * y_true + self.smoothing / classes
        return loss(mixed, y_pred, sample_weight)

    def get_config(self):
        return super().get_config() | {"smoothing": self.smoothing}


def _function_of(loss):
    """The function inside a loss that Keras made of one."""
    return getattr(loss, "fn", None)


def _is_sparse(loss):
    return _function_of(loss) is keras.losses.sparse_categorical_crossentropy


def _is_binary(loss, y_pred):
    binary = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)
    return _function_of(loss) in binary or y_pred.shape[-1] == 1


def _categorical(loss, y_true, y_pred):
    """The categorical form of a sparse cross-entropy, and its labels."""
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == len(y_pred.shape):
        labels = ops.squeeze(labels, axis=-1)
    options = loss.get_config()
    of_logits = bool(options.get("from_logits", False))
    categorical = keras.losses.CategoricalCrossentropy(
        from_logits=of_logits, reduction=loss.reduction, dtype=loss.dtype
    )
    return categorical, ops.one_hot(labels, y_pred.shape[-1], dtype=loss.dtype)
