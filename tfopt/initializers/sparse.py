"""Sparse: exactly k weights into every unit are not zero."""

import math

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_integer, require_positive
from tfopt.initializers._fans import axes_into_a_unit
from tfopt.initializers._seeded import KernelInitializer


@keras.saving.register_keras_serializable(package="tfopt")
class Sparse(KernelInitializer):
    """Martens' sparse initialization: k random inputs per unit, normal weights there, zero elsewhere.

    For each unit a set of k of its m incoming weights is drawn, all sets equally likely, and::

        W_ij ~ N(0, σ²) for the k inputs i of unit j,   W_ij = 0 for the others

    so the input of a unit has variance k σ² whatever m is: wide layers need no smaller weights, and units
    differ more from each other than those that see every input. σ is `stddev`.

    Args:
        k: Number of weights per unit that are not zero, at least 1 and at most m, which the call checks. In
            a convolution m counts the weights of the window in all its channels.
        stddev: σ > 0.
        input_axes: Axes of the kernel that lead into one unit; None for all but the last, right for dense,
            convolution and recurrent kernels. A depthwise kernel of (height, width, channels, multiplier)
            takes (0, 1), a transposed convolution's of (height, width, filters, channels) (0, 1, 3).
        seed: Integer or None: the same numbers at every call. A `keras.random.SeedGenerator`: new ones.

    Raises:
        ValueError: If an argument lies outside its range; when called, if a unit has fewer than k inputs or
            the shape has fewer than two axes.

    Example:
        >>> import keras, tfopt
        >>> kernel = keras.ops.convert_to_numpy(tfopt.initializers.Sparse(k=3, seed=0)((100, 5)))
        >>> (kernel != 0).sum(axis=0).tolist()
        [3, 3, 3, 3, 3]

    Source: Martens, Deep Learning via Hessian-Free Optimization, 2010, section 5; chapter section 9.1.
    """

    def __init__(self, k=15, stddev=1.0, input_axes=None, seed=None):
        require_integer("Sparse", 1, k=k)
        require_positive("Sparse", stddev=stddev)
        super().__init__(input_axes, seed)
        self.k = k
        self.stddev = stddev

    def __call__(self, shape, dtype=None):
        dtype = keras.backend.standardize_dtype(dtype)
        require(len(shape) >= 2, "Sparse", "shape", tuple(shape), "a kernel's shape, of at least two axes")
        into = axes_into_a_unit("Sparse", shape, self.input_axes)
        units = tuple(axis for axis in range(len(shape)) if axis not in into)
        rows, inputs = (math.prod(shape[axis] for axis in axes) for axes in (units, into))
        expected = f"k <= {inputs}, the number of inputs of a unit in a kernel of shape {tuple(shape)}"
        require(self.k <= inputs, "Sparse", "k", self.k, expected)
        values = tf.reshape(self._rows(rows, inputs, dtype), [shape[axis] for axis in (*units, *into)])
        return tf.transpose(values, np.argsort((*units, *into)))

    def _rows(self, rows, inputs, dtype):
        """The weights of each unit as a row."""
        # One draw for places and values: two with the same integer seed would be the same numbers.
        wide = "float64" if dtype == "float64" else "float32"
        places, values = tf.unstack(keras.random.normal((2, rows, inputs), dtype=wide, seed=self.seed))
        rank = tf.argsort(tf.argsort(places, axis=1, stable=True), axis=1)
        values = tf.cast(self.stddev * values, dtype)
        # A draw may be 0, or become so in a short type.
        smallest = tf.constant(2.0**-14 if dtype == "float16" else 2.0**-126, dtype)
        values = tf.where(values == 0, smallest, values)
        return tf.where(rank < self.k, values, tf.zeros_like(values))

    def get_config(self):
        return {"k": self.k, "stddev": self.stddev, **super().get_config()}
