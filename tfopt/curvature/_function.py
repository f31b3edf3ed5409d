"""A function of tensors or variables, as the operators differentiate it."""

import contextlib

import keras
import tensorflow as tf

from tfopt._check import require


class Function:
    """``function(x)``, a scalar; with `loss`, ``loss(function(x))``."""

    model = None

    def __init__(self, owner, function, x, loss=None):
        require(callable(function), owner, "target", function, "a compiled Keras model or a function")
        require(loss is None or callable(loss), owner, "loss", loss, "a function of what `target` returns")
        self.owner, self.name = owner, getattr(function, "__name__", repr(function))
        self.function, self.loss = function, loss
        self.structure = tf.nest.map_structure(_tensor, x)
        self.sources = tf.nest.flatten(self.structure)
        size = sum(source.shape.num_elements() for source in self.sources)
        require(size > 0, owner, "x", x, "tensors or variables with at least one element")
        for source in self.sources:
            good = isinstance(source, (tf.Tensor, tf.Variable)) and source.dtype.is_floating
            require(good, owner, "x", x, "real tensors or variables, or a nest of them")

    @property
    def points(self):
        """What a traced product takes as arguments: the tensors. Variables it reads itself."""
        return [None if isinstance(source, tf.Variable) else source for source in self.sources]

    def batches(self):
        """One evaluation, for which no data are needed; it counts 1."""
        yield 1.0, ()

    def unchanged(self):
        """A function has no state to put back."""
        return contextlib.nullcontext()

    def value(self, sources):
        """The scalar."""
        return self._scalar(self.function(self._nested(sources)))

    def parts(self, sources):
        """What the function returns, the loss of it, and no further terms."""
        outputs = self.function(self._nested(sources))
        flat = [tf.convert_to_tensor(output) for output in tf.nest.flatten(outputs)]
        value = self._scalar(self.loss(tf.nest.pack_sequence_as(outputs, flat)))
        return flat, value, None

    def _nested(self, sources):
        return tf.nest.pack_sequence_as(self.structure, sources)

    def _scalar(self, value):
        value = tf.convert_to_tensor(value)
        good = value.shape.rank == 0 and value.dtype.is_floating
        argument, function = ("target", self.function) if self.loss is None else ("loss", self.loss)
        require(good, self.owner, argument, function, f"a real scalar from it, got shape {value.shape}")
        return value


def _tensor(part):
    part = part.value if isinstance(part, keras.Variable) else part
    return part if isinstance(part, tf.Variable) else tf.convert_to_tensor(part)
