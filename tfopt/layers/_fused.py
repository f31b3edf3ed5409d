"""Normalisation by the fused kernels: how a region of a tensor lies, and what the kernels make of it."""

import itertools
import math
from typing import NamedTuple

import tensorflow as tf

from tfopt.kernels import normalize as kernels
from tfopt.layers._statistics import Statistics


class Fused(NamedTuple):
    """One normalisation as the kernels do it.

    Attributes:
        ops: The library's ops.
        ends: Where the axes of the input split into outer, inner, groups and width.
        axes: Those that statistics are taken over.
        parameters: Shape, of the input's rank, that γ and β are broadcast to.
        run: Elements in a row that share a parameter.
        epsilon: ε.
    """

    ops: object
    ends: tuple
    axes: tuple
    parameters: tuple
    run: int
    epsilon: float

    def forward(self, x, gamma, beta):
        """y and the `Statistics`."""
        given = self._numbers(gamma), self._numbers(beta)
        y, *found = kernels.normalize(self.ops, self._divided(x), *given, self.run, self.epsilon)
        shape = [1 if axis in self.axes else length for axis, length in enumerate(_shape(x))]
        mean, variance = (tf.reshape(one, shape) for one in found)
        return _like(y, x), Statistics(mean, variance, _count(x, self.axes))

    def backward(self, x, gamma, upstream, beta_shape, measured):
        """Gradients with respect to x, γ and β."""
        divided = self._divided(x)
        groups = [_shape(divided)[0], _shape(divided)[2]]
        statistics = [tf.reshape(one, groups) for one in (measured.mean, measured.variance)]
        by_x, *found = kernels.gradients(
            self.ops,
            divided,
            self._divided(upstream),
            self._numbers(gamma),
            statistics,
            self.run,
            self.epsilon,
        )
        shapes = gamma.shape, beta_shape
        by_gamma, by_beta = (self._summed(one, shape) for one, shape in zip(found, shapes, strict=True))
        return _like(by_x, x), by_gamma, by_beta

    def _divided(self, x):
        """`x` as [outer, inner, groups, width]."""
        first = (0, *self.ends[:-1])
        lengths = _shape(x)
        return tf.reshape(x, [_product(lengths[a:b]) for a, b in zip(first, self.ends, strict=True)])

    def _numbers(self, parameter):
        """γ or β as the kernels take them."""
        if tuple(parameter.shape) != self.parameters:
            parameter = tf.broadcast_to(parameter, self.parameters)
        return tf.reshape(parameter, [-1])

    def _summed(self, vector, shape):
        """A gradient of the kernels for a parameter of this shape."""
        by = tf.reshape(vector, self.parameters)
        spread = [axis for axis, length in enumerate(shape) if length != self.parameters[axis]]
        return tf.reduce_sum(by, spread, keepdims=True) if spread else by


def fused(x, gamma, beta, region, epsilon):
    """The `Fused` normalisation of a region of `x`, or None where the kernels do not serve it."""
    # Masks, and batches that replicas share, are left to TensorFlow's own operations.
    if region.mask is not None or region.shared():
        return None
    ops = kernels.ops_of(x)
    own = [axis for axis in range(x.shape.rank) if gamma.shape[axis] != 1 or beta.shape[axis] != 1]
    ends = None if ops is None else _ends(x.shape, region.axes, own)
    if ends is None:
        return None
    first, last = (own[0], own[-1] + 1) if own else (x.shape.rank, x.shape.rank)
    # A parameter for every element from the first axis that has any to the last.
    lengths = x.shape.as_list()
    if not all(lengths[first:]):
        return None
    parameters = [1] * first + lengths[first:last] + [1] * (x.shape.rank - last)
    return Fused(ops, ends, tuple(region.axes), tuple(parameters), math.prod(lengths[last:]), epsilon)


def _ends(shape, axes, own):
    """Where the axes split into outer, inner, groups and width; None where they alternate more often.

    Axes with parameters belong to a sample: where they come first, the groups begin with them.
    """
    # Of an axis of length 1 it does not matter where it goes.
    kinds = [None if length == 1 else axis in axes for axis, length in enumerate(shape)]
    known = [(axis, kind) for axis, kind in enumerate(kinds) if kind is not None]
    runs = [[axis for axis, _ in run] for _, run in itertools.groupby(known, key=lambda one: one[1])]
    if known and known[0][1]:
        runs.insert(0, [])
    if len(runs) == 2:
        # Samples and what is normalised: no inner axes, and groups where parameters say so.
        inside = [axis for axis in runs[0] if own and axis >= own[0]]
        runs = [[axis for axis in runs[0] if axis not in inside], [], inside, runs[1]]
    runs += [[]] * (4 - len(runs))
    if len(runs) > 4 or (own and runs[0] and runs[0][-1] >= own[0]):
        return None
    ends, end = [], 0
    for run in runs[:3]:
        end = max(end, run[-1] + 1) if run else end
        ends.append(end)
    return (*ends, len(shape))


def _shape(x):
    """Lengths of the axes, as numbers where they are known."""
    known = x.shape.as_list()
    return [tf.shape(x)[axis] if length is None else length for axis, length in enumerate(known)]


def _product(lengths):
    known = math.prod(length for length in lengths if not tf.is_tensor(length))
    unknown = [length for length in lengths if tf.is_tensor(length)]
    return known * tf.reduce_prod(unknown) if unknown else known


def _like(y, x):
    """`y` in the shape of `x`."""
    y = tf.reshape(y, _shape(x))
    y.set_shape(x.shape)
    return y


def _count(x, axes):
    """Number of elements behind each statistic."""
    return tf.cast(_product([_shape(x)[axis] for axis in axes]), tf.float32)
