"""Where predictions are wrong: one function for the 0-1 loss and the 0-1 metric."""

import tensorflow as tf
from keras import ops

from tfopt._check import is_number, require, require_choice

LABELS = ("auto", "sparse", "one_hot", "binary")


def require_labels(owner, labels, threshold):
    """Require arguments that `zero_one_errors` takes."""
    require_choice(owner, LABELS, labels=labels)
    require(is_number(threshold), owner, "threshold", threshold, "a finite number")


def zero_one_errors(y_true, y_pred, labels="auto", threshold=0.5):
    """1 for each wrong decision, 0 for each right one, in `y_pred`'s dtype; NaN decides nothing right."""
    y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    kind = _kind(y_true.shape, y_pred.shape) if labels == "auto" else labels
    if kind == "binary":
        y_true, y_pred = _aligned(y_true, y_pred)
        wrong = ops.not_equal(ops.cast(y_true, "float32") > 0.5, y_pred > threshold)
        undecided = ops.isnan(y_pred)
    else:
        wrong = ops.not_equal(_classes(y_true, y_pred, kind), ops.argmax(y_pred, axis=-1))
        undecided = ops.any(ops.isnan(y_pred), axis=-1)
    return ops.cast(ops.logical_or(wrong, undecided), y_pred.dtype)


def _kind(true, pred):
    """What the labels are, from the shapes."""
    if len(pred) < 2 or pred[-1] == 1:
        return "binary"
    return "one_hot" if len(true) == len(pred) and true[-1] == pred[-1] else "sparse"


def _classes(y_true, y_pred, kind):
    """The labels as numbers of classes, without the axis of the scores."""
    if kind == "one_hot":
        return ops.argmax(y_true, axis=-1)
    if len(y_true.shape) == len(y_pred.shape):
        y_true = ops.squeeze(y_true, axis=-1)
    return ops.cast(ops.round(ops.cast(y_true, "float32")), "int32")


def _aligned(y_true, y_pred):
    """Both without a last axis of 1, where one has it."""
    return tuple(ops.squeeze(t, -1) if len(t.shape) > 1 and t.shape[-1] == 1 else t for t in (y_true, y_pred))
