"""Many gradients as one argument: handing over each would take as long as updating a small variable.

In a train step gradients are made inside the graph, so what handing them over costs is no part of an update.
"""

import math

import tensorflow as tf


def packed(gradients, jit_compile):
    """One argument that holds `gradients`, and the function that takes them out of it again in a graph."""
    if len(gradients) == 1:
        return gradients, list
    if all(g.shape == gradients[0].shape for g in gradients):
        return tf.stack(gradients), tf.unstack
    shapes = [g.shape for g in gradients]
    return _joined(gradients, shapes) if jit_compile else _listed(gradients, shapes)


def _joined(gradients, shapes):
    """One flat tensor: XLA, which knows no lists, reads the parts where they lie."""
    sizes = [math.prod(shape) for shape in shapes]

    def unpack(flat):
        parts = tf.split(flat, sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]

    return tf.concat([tf.reshape(g, [-1]) for g in gradients], 0), unpack


def _listed(gradients, shapes):
    """A list of tensors, which gives its items out as they are, without a copy."""
    unknown = tf.constant(-1)
    made = tf.raw_ops.EmptyTensorList(
        element_shape=unknown, max_num_elements=tf.constant(-1), element_dtype=tf.float32
    )
    for gradient in gradients:
        made = tf.raw_ops.TensorListPushBack(input_handle=made, tensor=gradient)

    def item(items, i, shape):
        place = tf.constant(i)
        return tf.raw_ops.TensorListGetItem(
            input_handle=items,
            index=place,
            element_shape=tf.constant(shape, tf.int32),
            element_dtype=tf.float32,
        )

    return made, lambda items: [item(items, i, list(shape)) for i, shape in enumerate(shapes)]
