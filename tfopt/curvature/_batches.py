"""The data of a loss, read batch by batch as often as products ask for it."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tfopt._batches import is_dataset, reader
from tfopt._check import require, require_integer


class Batches:
    """Batches (x, y, sample_weight) of arrays, of a `tf.data.Dataset` or of a `keras.utils.PyDataset`."""

    def __init__(self, owner, data, batch_size):
        x, y, sample_weight = data
        self.source = x
        if is_dataset(x):
            for name, value in {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}.items():
                require(value is None, owner, name, value, "None, as the data set brings its own")
            self.read = reader(owner, "x", x)
        else:
            self.read = _arrays(owner, data, batch_size)

    def __iter__(self):
        for batch in self.read():
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            yield tuple(_tensors(part) for part in (x, y, sample_weight))

    @functools.cached_property
    def totals(self):
        """Number of batches, number of samples, sum of the samples' weights, over all batches."""
        count, samples, weights = 0, 0, 0.0
        for x, _, sample_weight in self:
            count += 1
            samples += size_of(x)
            weights += weight_of(x, sample_weight)
        if not samples:
            raise ValueError(f"expected at least one sample in the data, got none from {self.source!r}.")
        return count, samples, weights


def size_of(x):
    """Number of samples in a batch."""
    return int(tf.shape(tf.nest.flatten(x)[0])[0])


def weight_of(x, sample_weight):
    """Sum of the weights of a batch's samples."""
    if sample_weight is None:
        return float(size_of(x))
    return float(sum(np.sum(part) for part in tf.nest.flatten(sample_weight)))


def _tensors(nest):
    return tf.nest.map_structure(lambda part: None if part is None else tf.convert_to_tensor(part), nest)


def _arrays(owner, parts, batch_size):
    if batch_size is not None:
        require_integer(owner, 1, batch_size=batch_size)
    leaves = [leaf for leaf in tf.nest.flatten(parts) if leaf is not None]
    for leaf in leaves:
        shape = getattr(leaf, "shape", ())
        require(
            len(shape) > 0, owner, "x", type(leaf), "arrays or tensors whose first axis counts the samples"
        )
    lengths = {int(leaf.shape[0]) for leaf in leaves}
    expected = "arrays with one number of samples, the same for x, y and sample_weight, and at least one"
    require(len(lengths) == 1 and min(lengths) > 0, owner, "x", sorted(lengths), expected)
    (length,) = lengths
    step = batch_size or length

    def read():
        for start in range(0, length, step):
            cut = slice(start, start + step)
            yield tf.nest.map_structure(lambda leaf: None if leaf is None else leaf[cut], parts)  # noqa: B023

    return read
