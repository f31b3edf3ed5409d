"""A symmetric matrix known by its products with vectors."""

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_flags
from tfopt.curvature._function import Function
from tfopt.curvature._model import Model


class CurvatureOperator:
    """A matrix over the elements of some tensors or weights: ``operator @ vector``, never formed.

    Follows SciPy's protocol of linear operators. Products are taken at the values the variables hold at that
    moment. Vectors are NumPy arrays of `dtype`; sums over batches are float64.

    Attributes:
        shape: (n, n).
        dtype: float64 if any variable is, else float32.
    """

    def __init__(self, subject, product, jit_compile):
        require_flags(subject.owner, jit_compile=jit_compile)
        self._subject = subject
        self._shapes = [source.shape for source in subject.sources]
        self._sizes = [shape.num_elements() for shape in self._shapes]
        wide = any(source.dtype == tf.float64 for source in subject.sources)
        self.dtype = np.dtype("float64" if wide else "float32")
        self.shape = (sum(self._sizes),) * 2
        self._product = self._traced(product, jit_compile)
        self._gradient = self._traced(gradient_product, jit_compile)

    def matvec(self, vector):
        """The product with one vector of n elements."""
        return self._sum_over_batches(self._product, self._checked(vector))

    def __matmul__(self, other):
        other = np.asarray(other)
        if other.ndim != 2:
            return self.matvec(other)
        return np.stack([self.matvec(column) for column in other.T], axis=1)

    def gradient(self):
        """The gradient of the same loss on the same data, as a vector."""
        return self._sum_over_batches(self._gradient, np.zeros(0, self.dtype))

    def flatten(self, nest):
        """A structure like the variables', such as a list of arrays, as a vector."""
        parts = tf.nest.flatten(nest)
        shapes = [tuple(np.shape(part)) for part in parts]
        expected = [tuple(shape) for shape in self._shapes]
        require(shapes == expected, "flatten", "nest", shapes, f"parts of shapes {expected}")
        return np.concatenate([np.ravel(part).astype(self.dtype) for part in parts])

    def nest(self, vector):
        """A vector as a list of arrays in the variables' shapes; for a function, in the structure of x."""
        pieces = np.split(self._checked(vector), np.cumsum(self._sizes)[:-1])
        shaped = [piece.reshape(tuple(shape)) for piece, shape in zip(pieces, self._shapes, strict=True)]
        structure = getattr(self._subject, "structure", shaped)
        return tf.nest.pack_sequence_as(structure, shaped)

    def _checked(self, vector):
        vector = np.asarray(vector)
        good = vector.shape in (self.shape[:1], (*self.shape[:1], 1)) and vector.dtype.kind in "fiu"
        require(good, "matvec", "vector", vector.shape, f"{self.shape[0]} real numbers")
        return vector.reshape(-1).astype(self.dtype)

    def _sum_over_batches(self, traced, vector):
        total = np.zeros(self.shape[0])
        with self._subject.unchanged():
            for share, batch in self._subject.batches():
                total += share * traced(self._subject.points, batch, tf.constant(vector)).numpy()
        return total.astype(self.dtype)

    def _traced(self, product, jit_compile):
        subject = self._subject

        def run(points, batch, vector):
            sources = [
                source if isinstance(source, tf.Variable) else point
                for source, point in zip(subject.sources, points or subject.sources, strict=True)
            ]
            pieces = self._pieces(vector, sources)
            parts = [
                tf.cast(tf.reshape(part, [-1]), self.dtype)
                for part in product(subject, sources, batch, pieces)
            ]
            return tf.concat(parts, axis=0)

        return tf.function(run, jit_compile=jit_compile, autograph=False)

    def _pieces(self, vector, sources):
        if vector.shape[0] == 0:
            return []
        pieces = tf.split(vector, self._sizes)
        return [tf.cast(tf.reshape(p, s.shape), s.dtype) for p, s in zip(pieces, sources, strict=True)]


def gradient_product(subject, sources, batch, _):
    """The gradient with respect to each source."""
    with tf.GradientTape() as tape:
        tape.watch(sources)
        value = subject.value(sources, *batch)
    return dense(tape.gradient(value, sources, unconnected_gradients="zero"))


def dense(gradients):
    """Gradients as plain tensors, those of embeddings too."""
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def subject_of(owner, target, data, options, loss=None):
    """What an operator differentiates: a model with its data, or a function of `x`."""
    x, y, sample_weight = data
    if isinstance(target, keras.Model):
        require(x is not None, owner, "x", x, "the data of the loss")
        require(loss is None, owner, "loss", loss, "None; a model brings its compiled loss")
        return Model(owner, target, data, options["batch_size"], options["training"])
    subject = Function(owner, target, x, loss)
    given = {"y": y, "sample_weight": sample_weight, "batch_size": options["batch_size"]}
    for name, value in given.items():
        require(value is None, owner, name, value, "None; it belongs to a Keras model")
    return subject
