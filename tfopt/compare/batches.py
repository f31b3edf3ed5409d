"""Minibatches in an order that depends on a seed alone."""

import tensorflow as tf

from tfopt._batches import untuned


def scaled(images):
    """uint8 images as float32 in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def endless_batches(images, labels, batch_size, seed):
    r"""Shuffled minibatches without end, in memory, in an order fixed by the seed.

    Pass number k visits every example once in the permutation drawn from (seed, k). A batch may hold the end
    of one pass and the beginning of the next, so all have the same size. Each iteration over the data set
    starts anew from the first pass.

    Args:
        images: uint8 tensor, shape (examples, height, width, channels).
        labels: Integer tensor, shape (examples,).
        batch_size: Examples per batch.
        seed: Seed of the permutations.

    Returns:
        `tf.data.Dataset` of (float32 images in [0, 1], labels).

    Example:
        >>> import tensorflow as tf
        >>> batches = endless_batches(tf.zeros((6, 2, 2, 1), tf.uint8), tf.range(6), 3, seed=1)
        >>> first_pass = [int(label) for _, labels in batches.take(2) for label in labels]
        >>> sorted(first_pass)
        [0, 1, 2, 3, 4, 5]
    """
    images, labels = tf.convert_to_tensor(images), tf.convert_to_tensor(labels)
    examples = tf.range(len(labels))

    def one_pass(number):
        key = tf.stack([tf.constant(seed, tf.int64), number])
        return tf.data.Dataset.from_tensor_slices(
            tf.random.experimental.stateless_shuffle(examples, seed=key)
        )

    def gather(indices):
        return scaled(tf.gather(images, indices)), tf.gather(labels, indices)

    batches = tf.data.Dataset.range(tf.int64.max).flat_map(one_pass).batch(batch_size, drop_remainder=True)
    return untuned(batches.map(gather).prefetch(8))
