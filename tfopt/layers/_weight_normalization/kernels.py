"""Kernels of a layer as g v/‖v‖, one norm for each unit."""

from typing import Any

import keras
import tensorflow as tf

from tfopt.layers._weight_normalization import _glue
from tfopt.repair._glue import layers_within

TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


class Kernel:
    """One kernel: its variable holds v, `g` the lengths.

    Attributes:
        variable: v, the layer's own variable.
        dtype: Its type.
        axes: Axes that count the units; the norm runs over the others.
        g: Variable of the units' shape.
        started: Variable that says whether the first batch has set g, None where none does.
        regularizer: The layer's own, which the variable gets back in the end.
    """

    def __init__(self, variable, axes):
        self.variable = variable
        self.dtype = _stored(variable).dtype.name
        self.axes = axes
        self.regularizer = variable.regularizer
        self.g: Any = None
        self.started: Any = None

    @property
    def shape(self):
        """Shape of w and of v."""
        return self.variable.shape

    @property
    def units(self):
        """Shape of g."""
        return tuple(self.variable.shape[axis] for axis in self.axes)

    def weight(self):
        """w = g v/‖v‖, of the variable's type."""
        return self.with_lengths(self.g)

    def assign(self, weight):
        """Make w the given one, by v = w and g = ‖w‖, where no batch is to set g any more."""
        self.variable.assign(weight)
        self.g.assign(self.norms())
        if self.started is not None:
            self.started.assign(True)

    def with_lengths(self, lengths):
        """v/‖v‖ times other lengths than g; zero where v is."""
        v = widened(self.variable)
        lengths = tf.reshape(widened(lengths), self._broadcast(v))
        return tf.cast(v * (lengths * tf.math.rsqrt(self._squares(v))), self.dtype)

    def norms(self):
        """‖v‖ of each unit, 1 where it is zero."""
        return tf.reshape(tf.sqrt(self._squares(widened(self.variable))), self.units)

    def _broadcast(self, v):
        return [v.shape[axis] if axis in self.axes else 1 for axis in range(v.shape.rank)]

    def _squares(self, v):
        others = [axis for axis in range(v.shape.rank) if axis not in self.axes]
        squares = tf.reduce_sum(tf.square(v), others, keepdims=True)
        return tf.where(squares > 0, squares, tf.ones_like(squares))


class OnWeight:
    """A kernel's regularizer, applied to w in place of v."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, v):
        return self.kernel.regularizer(self.kernel.weight())


def widened(variable):
    """The value of a variable or tensor, in float32 at least."""
    value = _stored(variable)
    return value if value.dtype == tf.float64 else tf.cast(value, tf.float32)


def _stored(variable):
    """The value of a variable or tensor in its own type."""
    with _glue.full_precision():
        return tf.convert_to_tensor(variable)


def kernels_of(layer):
    """Every kernel of a built layer and of the layers in it, in the order of its weights."""
    owners: dict = {}  # the innermost layer that has the variable
    for inner in layers_within(layer):
        owners.update({id(variable): inner for variable in inner.weights})
    return [Kernel(v, _unit_axes(owners[id(v)], v)) for v in layer.weights if _is_kernel(v)]


def _is_kernel(variable):
    named = variable.name.endswith("kernel") or variable.name == "embeddings"
    return named and tf.as_dtype(variable.dtype).is_floating and len(variable.shape) > 1


def _unit_axes(owner, variable):
    last = len(variable.shape) - 1
    if isinstance(owner, keras.layers.Embedding):
        return (0,)
    if isinstance(owner, TRANSPOSED):
        return (last - 1,)
    if isinstance(owner, DEPTHWISE) or variable.name == "depthwise_kernel":
        return (last - 1, last)
    if isinstance(owner, keras.layers.EinsumDense):
        operands, outputs = owner.equation.replace(" ", "").split("->")
        labels = operands.split(",")[1]
        return tuple(axis for axis, label in enumerate(labels) if label in outputs)
    return (last,)
