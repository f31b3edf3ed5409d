"""A loss with its data: value, gradient and Hessian products at the weights and beside them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require
from tfopt.curvature._operator import CurvatureOperator, dense, subject_of
from tfopt.curvature.hessian_operator import hessian_product


class Loss:
    """What the diagnostics ask of a scalar of the weights: a model's loss on given data, or a function.

    All sums over batches are float64. State of the model is left as it was.
    """

    def __init__(self, subject, jit_compile=False):
        self.owner, self.subject = subject.owner, subject
        self.hessian = CurvatureOperator(subject, hessian_product, jit_compile)
        self.size = self.hessian.shape[0]
        self._value = tf.function(self._value_of, jit_compile=jit_compile, autograph=False)
        self._both = tf.function(self._value_and_gradient, jit_compile=jit_compile, autograph=False)

    # -- values -------------------------------------------------------------------------------------

    def value(self):
        """The loss of all data at the weights as they are."""
        with self.subject.unchanged():
            return sum(
                share * float(self._value(self.subject.points, batch))
                for share, batch in self.subject.batches()
            )

    def value_and_gradient(self):
        """The loss of all data and its gradient, a float64 vector."""
        total, gradient = 0.0, np.zeros(self.size)
        for value, part, _ in self.by_batch():
            total += value
            gradient += part
        return total, gradient

    def by_batch(self) -> Iterator[tuple[float, np.ndarray, Any]]:
        """What each batch adds to the loss and to the gradient, and the batch."""
        with self.subject.unchanged():
            for share, batch in self.subject.batches():
                value, gradient = self._both(self.subject.points, batch)
                yield share * float(value), share * gradient.numpy().astype(float), batch

    # -- the weights as one vector ------------------------------------------------------------------

    def vector(self):
        """The weights, a float64 vector."""
        return np.concatenate([np.ravel(source.numpy()).astype(float) for source in self.subject.sources])

    @contextlib.contextmanager
    def at(self, vector):
        """The weights are `vector` inside, and what they were afterwards."""
        before = [source.numpy() for source in self.subject.sources]
        try:
            self._put(self.pieces(vector))
            yield
        finally:
            self._put(before)

    def pieces(self, vector):
        """A vector as arrays in the shapes of the weights."""
        sizes = [source.shape.num_elements() for source in self.subject.sources]
        parts = np.split(np.asarray(vector), np.cumsum(sizes)[:-1])
        return [
            part.reshape(tuple(source.shape))
            for part, source in zip(parts, self.subject.sources, strict=True)
        ]

    def _put(self, pieces):
        for index, piece in enumerate(pieces):
            source = self.subject.sources[index]
            value = tf.cast(tf.convert_to_tensor(piece), source.dtype)
            if isinstance(source, tf.Variable):
                source.assign(value)
            else:
                self.subject.sources[index] = value

    # -- traced -------------------------------------------------------------------------------------

    def _sources(self, points):
        return [
            source if isinstance(source, tf.Variable) else point
            for source, point in zip(self.subject.sources, points or self.subject.sources, strict=True)
        ]

    def _value_of(self, points, batch):
        return self.subject.value(self._sources(points), *batch)

    def _value_and_gradient(self, points, batch):
        sources = self._sources(points)
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = self.subject.value(sources, *batch)
        parts = dense(tape.gradient(value, sources, unconnected_gradients="zero"))
        flat = [tf.cast(tf.reshape(part, [-1]), self.hessian.dtype) for part in parts]
        return value, tf.concat(flat, axis=0)


def loss_of(owner, target, data, *, batch_size=None, training=False, jit_compile=False):
    """The `Loss` of a compiled model on data, or of a function of ``data[0]``."""
    require_loss(owner, target)
    options = {"batch_size": batch_size, "training": training}
    return Loss(subject_of(owner, target, data, options), jit_compile)


def require_loss(owner, target):
    """Require of a Keras model that it is compiled with a loss, or adds losses, or computes its own."""
    if not isinstance(target, keras.Model):
        return
    require(target.compiled, owner, "model", target.name, "a compiled model, one with a loss")
    own = type(target).compute_loss is not keras.Model.compute_loss
    has_loss = any(loss is not None for loss in tf.nest.flatten(target.loss))
    expected = "a model with a loss: compile(loss=…), add_loss, or a compute_loss of its own"
    require(has_loss or target.losses or own, owner, "model", target.name, expected)
