"""Many gradients as one argument: handing over each would take as long as updating a small variable.

In a train step gradients are made inside the graph, so what handing them over costs is no part of an update.
"""

import math

import tensorflow as tf


def packed(gradients, jit_compile):
    """One argument that holds `gradients`, and the function that takes them out of it again in a graph."""
    if len(gradients) == 1:
        return gradients, list
    shapes = [g.shape for g in gradients]
    if not jit_compile:
        return _held(gradients, shapes)
    if len(set(shapes)) == 1:
        return tf.stack(gradients), tf.unstack
    return _joined(gradients, shapes)


def _joined(gradients, shapes):
    """One flat tensor: XLA, which knows no lists, reads the parts where they lie."""
    sizes = [math.prod(shape) for shape in shapes]

    def unpack(flat):
        parts = tf.split(flat, sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]

    return tf.concat([tf.reshape(g, [-1]) for g in gradients], 0), unpack


def _held(gradients, shapes):
    """An optional that holds them all and gives them out as they are, without a copy, by one operation."""
    types = [gradient.dtype for gradient in gradients]

    def unpack(optional):
        return tf.raw_ops.OptionalGetValue(optional=optional, output_types=types, output_shapes=shapes)

    return tf.raw_ops.OptionalFromValue(components=gradients), unpack
