"""Data sets that come in batches and end."""

import keras
import tensorflow as tf

from tfopt._check import require


def is_dataset(data):
    """Whether it is a `tf.data.Dataset` or a `keras.utils.PyDataset`."""
    return isinstance(data, (tf.data.Dataset, keras.utils.PyDataset))


def is_endless(dataset):
    """Whether a `tf.data.Dataset` is known to have no end."""
    return int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY


def reader(owner, name, data):
    """A function that begins to read a data set anew and returns an iterable of its batches.

    Args:
        owner: Who was given the data set, for messages.
        name: The argument's name.
        data: What `is_dataset` says yes to.

    Raises:
        ValueError: If it is known to have no end.
    """
    if isinstance(data, tf.data.Dataset):
        require(not is_endless(data), owner, name, data, "a data set that ends: without repeat()")
        return lambda: iter(data)
    require(data.num_batches is not None, owner, name, data, "a PyDataset that knows its num_batches")
    return lambda: (data[index] for index in range(data.num_batches))


def untuned(batches):
    """The dataset without the thread that tunes its pipeline, unless its options ask for one.

    The thread sleeps twice as long each time. An iterator that goes waits for it to wake, where it did not
    see that it was called off, and one that comes is held up by it.
    """
    if batches.options().autotune.enabled is not None:
        return batches
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)
