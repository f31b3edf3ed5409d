"""Norms of a step's gradients, read once, in double."""

import tensorflow as tf

from tfopt.kernels._gradients import as_inputs, dtype_of


def norms(op, gradients, accumulators=()):
    """The Euclidean norm of all gradients together, and a vector with the norm of each; float64.

    They are not finite where an element is not. With `accumulators` the gradients are what the accumulators
    hold and `gradients` together.
    """
    kinds: dict = {}
    for i, gradient in enumerate(gradients):
        kinds.setdefault(dtype_of(gradient), []).append(i)
    found = [_of_one_kind(op, gradients, accumulators, rows) for rows in kinds.values()]
    if len(found) == 1:
        return found[0]
    order = [i for rows in kinds.values() for i in rows]
    each = tf.gather(tf.concat([of_each for _, of_each in found], 0), tf.math.invert_permutation(order))
    return _norm_of([of_all for of_all, _ in found]), each


def _of_one_kind(op, gradients, accumulators, rows):
    return op(
        accumulators=[accumulators[i].handle for i in rows] if accumulators else [],
        **as_inputs([gradients[i] for i in rows]),
    )


def _norm_of(norms):
    """The norm of a few finite norms, even where their squares overflow; of others, not finite."""
    largest = tf.reduce_max(norms)
    unit = tf.where(tf.math.is_finite(largest) & (largest > 0), largest, 1.0)
    return tf.norm(tf.stack(norms) / unit) * unit
