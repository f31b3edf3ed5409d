"""Gradients as the ops take them: tensors, or values and rows of IndexedSlices."""

import tensorflow as tf

from tfopt.kernels._glue import compiled_by_xla

HALVES = (tf.float16, tf.bfloat16)


def prepared(gradients, weights):
    """`gradients` in types that compute as their weights do; dense where XLA compiles."""
    dense = compiled_by_xla()
    return [_prepared(g, w.dtype, dense) for g, w in zip(gradients, weights, strict=True)]


def dtype_of(gradient):
    """The type of a gradient's elements."""
    return gradient.values.dtype if is_rows(gradient) else gradient.dtype


def is_rows(gradient):
    """Whether a gradient is given as some rows of its weight."""
    return isinstance(gradient, tf.IndexedSlices)


def as_inputs(gradients):
    """The inputs and the attribute that ops with gradients share."""
    sparse = [i for i, g in enumerate(gradients) if is_rows(g)]
    return {
        "gradients": [g.values if is_rows(g) else g for g in gradients],
        "rows": [tf.cast(gradients[i].indices, tf.int64) for i in sparse],
        "sparse": sparse,
    }


def computes_in(dtype):
    """The type that arithmetic on `dtype` is done in."""
    return tf.float32 if dtype in HALVES else dtype


def _prepared(gradient, dtype, dense):
    if not is_rows(gradient):
        gradient = tf.convert_to_tensor(gradient)
    if computes_in(dtype_of(gradient)) != computes_in(dtype):
        gradient = cast(gradient, computes_in(dtype))
    return tf.convert_to_tensor(gradient) if dense else gradient


def cast(gradient, dtype):
    """`gradient` in another type."""
    if not is_rows(gradient):
        return tf.cast(gradient, dtype)
    return tf.IndexedSlices(tf.cast(gradient.values, dtype), gradient.indices, gradient.dense_shape)
