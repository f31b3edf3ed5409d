"""Marginal statistics of targets: how often each class occurs, or the mean of each component."""

import numpy as np

from tfopt._check import require, require_choice

ACTIVATIONS = ("softmax", "sigmoid", "linear")
OWNER = "OutputBias"


def of_targets(y, activation):
    """(activation, statistics) of targets y.

    Returns:
        The activation, found out where None was given, and for "softmax" the count of each class, for
        "sigmoid" counts (no, yes) of shape (units, 2), for "linear" the mean of each component.
    """
    y = _numbers("y", y)
    y = y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y
    require(y.ndim >= 1 and y.size > 0, OWNER, "y", f"shape {y.shape}", "at least one sample")
    if activation is None:
        activation = _likely(y)
    require_choice(OWNER, ACTIVATIONS, activation=activation)
    return activation, {"softmax": _classes, "sigmoid": _yes_and_no, "linear": _mean}[activation](y)


def of_counts(counts, activation):
    """The same of counts that are known already."""
    counts = _numbers("counts", counts)
    fits = counts.size > 1 and (counts.ndim == 1 or (counts.ndim == 2 and counts.shape[1] == 2))
    expected = "counts of at least two classes, or (no, yes) of each unit of a sigmoid"
    require(fits and (counts >= 0).all() and counts.sum() > 0, OWNER, "counts", counts, expected)
    if activation is None:
        activation = "sigmoid" if counts.ndim == 2 else "softmax"
    require_choice(OWNER, ACTIVATIONS[:2], activation=activation)
    require(counts.ndim == 1 or activation == "sigmoid", OWNER, "counts", counts, "one count per class")
    pair = counts.ndim == 2 or activation == "softmax" or len(counts) == 2
    require(pair, OWNER, "counts", counts, "(no, yes), as the output is a sigmoid")
    return activation, counts[None] if counts.ndim == 1 and activation == "sigmoid" else counts


def _numbers(name, values):
    array = np.asarray(values)
    real = array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
    require(real, OWNER, name, f"{array.dtype} values", "real numbers")
    array = array.astype(np.float64) if array.dtype.kind not in "biu" else array
    require(np.isfinite(array).all(), OWNER, name, values, "finite numbers")
    return array


def _whole(y):
    return y.dtype.kind in "biu"


def _one_hot(y):
    return y.ndim > 1 and (y >= 0).all() and np.allclose(y.sum(axis=-1), 1, atol=1e-3)


def _likely(y):
    """The activation that such targets are most often met with."""
    if _one_hot(y):
        return "softmax"
    if np.isin(y, (0, 1)).all():
        return "sigmoid"
    return "softmax" if _whole(y) else "linear"


def _classes(y):
    if _one_hot(y):
        return y.reshape(-1, y.shape[-1]).sum(axis=0, dtype=np.float64)
    labels = y.astype(np.int64)
    expected = "labels 0, 1, …, or rows of class probabilities that add up to 1, as the output is a softmax"
    require((labels == y).all() and (labels >= 0).all(), OWNER, "y", y, expected)
    return np.bincount(labels.ravel(), minlength=2).astype(np.float64)


def _yes_and_no(y):
    expected = "values in [0, 1], as the output is a sigmoid"
    require((y >= 0).all() and (y <= 1).all(), OWNER, "y", y, expected)
    rows = y.reshape(-1, y.shape[-1] if y.ndim > 1 else 1)
    yes = rows.sum(axis=0, dtype=np.float64)
    return np.stack([len(rows) - yes, yes], axis=1)


def _mean(y):
    return y.reshape(-1, y.shape[-1] if y.ndim > 1 else 1).mean(axis=0, dtype=np.float64)
