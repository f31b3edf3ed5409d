"""Elements of a dataset as vectors of strings, and back."""

import tensorflow as tf

from tfopt._check import require

_UNSTORABLE = (tf.resource, tf.variant)


def require_dense(owner, dataset):
    """Require every component of the elements of `dataset` to be a dense tensor that can be written."""
    for spec in tf.nest.flatten(dataset.element_spec):
        storable = isinstance(spec, tf.TensorSpec) and spec.dtype not in _UNSTORABLE
        require(storable, owner, "dataset", spec, "dense tensors as the components of its elements")


def describe(element_spec):
    """Return structure, dtypes and static shapes of an element as one comparable string."""
    return repr(tf.nest.map_structure(lambda spec: f"{spec.dtype.name}{spec.shape}", element_spec))


def encode(*element):
    """Return the components of an element as a vector of strings."""
    return tf.stack([tf.io.serialize_tensor(leaf) for leaf in tf.nest.flatten(element)])


def decoder(element_spec):
    """Return the function that turns the result of `encode` into an element of `element_spec` again."""
    specs = tf.nest.flatten(element_spec)

    def decode(encoded):
        parts = tf.unstack(encoded, num=len(specs))
        leaves = [
            tf.ensure_shape(tf.io.parse_tensor(part, spec.dtype), spec.shape)
            for part, spec in zip(parts, specs, strict=True)
        ]
        return tf.nest.pack_sequence_as(element_spec, leaves)

    return decode
