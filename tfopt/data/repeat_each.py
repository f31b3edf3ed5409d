"""Every batch several times in a row."""

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_integer
from tfopt.data.growing_batches import GrowingBatches


def _as_tuple(batch):
    batch = keras.tree.lists_to_tuples(batch)
    return batch if isinstance(batch, (tuple, dict)) else (batch,)


def _copy(array):
    return np.array(array.numpy() if tf.is_tensor(array) else array)


def _spec(*arrays):
    """Return the spec of several batches' arrays: None for the batch axis and wherever the shapes differ."""
    shapes = zip(*(np.shape(array)[1:] for array in arrays), strict=True)
    shape = [sizes[0] if len(set(sizes)) == 1 else None for sizes in shapes]
    return tf.TensorSpec((None, *shape), tf.convert_to_tensor(arrays[0]).dtype)


def _batches_of(dataset):
    """Return the batches of a `PyDataset`, which is told when its epochs begin and end."""
    if isinstance(dataset, GrowingBatches):
        return dataset.as_dataset()
    count = dataset.num_batches
    require(count, "repeat_each", "dataset", dataset, "a finite number of batches, at least one")

    def one_epoch():
        dataset.on_epoch_begin()
        for index in range(count):
            # Copied, because tensors share the memory of arrays, which the dataset may rearrange in place
            # when told that the epoch ends. That is before the last batch: Keras may never ask for more.
            batch = keras.tree.map_structure(_copy, _as_tuple(dataset[index]))
            if index == count - 1:
                dataset.on_epoch_end()
            yield batch

    samples = [_as_tuple(dataset[index]) for index in range(min(count, 2))]
    signature = keras.tree.map_structure(_spec, *samples)
    batches = tf.data.Dataset.from_generator(one_epoch, output_signature=signature)
    return batches.apply(tf.data.experimental.assert_cardinality(count))


def _with_cardinality(repeated, dataset, k):
    cardinality = int(dataset.cardinality())
    if cardinality == tf.data.UNKNOWN_CARDINALITY:
        return repeated
    known = k * cardinality if cardinality >= 0 else cardinality
    return repeated.apply(tf.data.experimental.assert_cardinality(known))


def repeat_each(dataset, k):
    """Repeat every batch `k` times in a row, B₁ … B₁, B₂ … B₂ and so on.

    A line search, and every method that compares losses at several points, needs f and f' of one and the same
    function. In training on minibatches that function is the loss of the batch, so the batch has to stay
    while the search lasts. `k` is the number of evaluations it gets. Random augmentation upstream is drawn
    once per batch, not once per repetition.

    Args:
        dataset: A batched `tf.data.Dataset` of any element structure, or a finite `keras.utils.PyDataset`,
            whose `on_epoch_begin` and `on_epoch_end` are called once per pass.
        k: Number of times in a row, an integer >= 1.

    Returns:
        A `tf.data.Dataset` with `k` times as many elements; its cardinality is known where that of `dataset`
        is. An order once given is kept by `model.fit`, which would shuffle the batches of a `PyDataset`.

    Raises:
        ValueError: If `k` is no integer >= 1, or `dataset` is neither of the two or an endless `PyDataset`.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> batches = tf.data.Dataset.range(4).batch(2)
        >>> [batch.tolist() for batch in tfopt.data.repeat_each(batches, 2).as_numpy_iterator()]
        [[0, 1], [0, 1], [2, 3], [2, 3]]

    Source: Nocedal, Wright, Numerical Optimization (2006), chapter 3, for what a line search evaluates; Choi,
    Passos, Shallue, Dahl, Faster Neural Network Training with Data Echoing (2019), for repeating batches.
    """
    require_integer("repeat_each", 1, k=k)
    if isinstance(dataset, keras.utils.PyDataset):
        dataset = _batches_of(dataset)
    require(
        isinstance(dataset, tf.data.Dataset),
        "repeat_each",
        "dataset",
        dataset,
        "a tf.data.Dataset or a keras.utils.PyDataset",
    )
    # flat_map hands a plain tuple over as several arguments, everything else as one.
    unpacked = type(dataset.element_spec) is tuple

    def copies(*batch):
        return tf.data.Dataset.from_tensors(batch if unpacked else batch[0]).repeat(k)

    return _with_cardinality(dataset.flat_map(copies), dataset, k)
