"""What Keras' trainer does with values of several replicas, written for several workers too."""

import tensorflow as tf


def local_batch(strategy, batch):
    """The share of a distributed batch that this worker's first replica gets: it shows a model its shapes."""
    return tf.nest.map_structure(lambda leaf: strategy.experimental_local_results(leaf)[0], batch)


def next_local_batch(strategy, epoch_iterator):
    """The first batch of an epoch as `local_batch` has it; None where there is none."""
    for _, _, iterator in epoch_iterator:
        return local_batch(strategy, next(iterator))
    return None


def means(strategy, values):
    """The mean over all replicas of all workers of each leaf."""
    return tf.nest.map_structure(lambda leaf: strategy.reduce("MEAN", leaf, axis=None), values)
