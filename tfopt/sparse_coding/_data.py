"""What a caller hands over, as tensors of [samples, features]."""

import numpy as np
import tensorflow as tf

from tfopt._batches import is_endless
from tfopt._check import require


def batches(owner, x, dtype):
    """Yield the tensors of a dataset's batches, or the one of an array.

    Args:
        owner: Name of the method, for messages.
        x: Array, tensor, or batched `tf.data.Dataset`; of tuples the first component counts.
        dtype: Their floating-point type here.
    """
    if not isinstance(x, tf.data.Dataset):
        yield matrix(owner, x, dtype)
        return
    empty = True
    for element in x:
        empty = False
        yield matrix(owner, element[0] if isinstance(element, tuple) else element, dtype)
    require(not empty, owner, "x", x, "at least one batch")


def gathered(owner, x, dtype):
    """All samples as one tensor."""
    endless = isinstance(x, tf.data.Dataset) and is_endless(x)
    require(not endless, owner, "x", x, "a finite dataset, which is held in memory; see partial_fit")
    return tf.concat(list(batches(owner, x, dtype)), axis=0)


def matrix(owner, values, dtype):
    """Finite real numbers of [samples, features], at least one of each."""
    found = values if tf.is_tensor(values) else np.asarray(values)
    kind = tf.as_dtype(found.dtype)
    real = kind.is_floating or kind.is_integer
    require(real, owner, "x.dtype", kind.name, "real numbers")
    shape = tuple(found.shape)
    require(
        len(shape) == 2 and 0 not in shape, owner, "x.shape", shape, "(samples, features), none of them 0"
    )
    tensor = tf.cast(found, dtype)
    finite = bool(tf.reduce_all(tf.math.is_finite(tensor)))
    require(finite, owner, "x", values, f"finite numbers, in {tf.as_dtype(dtype).name}")
    return tensor
