"""Mean and variance over a region of a tensor: the statistics of every normalisation layer."""

from typing import NamedTuple

import tensorflow as tf


class Region(NamedTuple):
    """What one pair of statistics is taken over.

    Attributes:
        axes: The axes summed over, each >= 0; the others have statistics of their own.
        mask: None, or a bool tensor that broadcasts against the input, False where an element does not count.
        synchronized: Whether all replicas of the strategy in scope count together.
    """

    axes: tuple
    mask: tf.Tensor | None = None
    synchronized: bool = False

    def keep(self, x):
        """`x` where elements count, 0 elsewhere."""
        return x if self.mask is None else tf.where(self.mask, x, tf.zeros([], x.dtype))

    def here(self):
        """The region with its mask in the graph that is being built now."""
        return self if self.mask is None else self._replace(mask=tf.identity(self.mask))

    def local_sum(self, x):
        """The sum of `x` over the axes, on this replica."""
        return sum_over(x, self.axes)

    def spread(self, small, x):
        """A statistic made as long as `x` along all runs of the axes but the first.

        It stays small, and what it is combined with `x` for then broadcasts over one run, which is fast.
        """
        lengths = list(small.shape)
        for axis in (axis for run in _runs(self.axes)[1:] for axis in run):
            lengths[axis] = x.shape[axis]
        shape = [tf.shape(x)[axis] if length is None else length for axis, length in enumerate(lengths)]
        return tf.broadcast_to(small, shape)

    def sums(self, *tensors):
        """The sum of each tensor over the axes, of all replicas if they count together."""
        return self.reduced([self.local_sum(x) for x in tensors])

    def shared(self):
        """Whether other replicas count together with this one."""
        replica = tf.distribute.get_replica_context() if self.synchronized else None
        return replica is not None and replica.num_replicas_in_sync > 1

    def reduced(self, tensors):
        """Each tensor summed over the replicas that count together."""
        if not self.shared():
            return tensors
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)

    def local_count(self, x):
        """Number of elements behind each statistic on this replica, in the dtype of `x`."""
        if self.mask is None:
            return tf.cast(tf.reduce_prod(tf.gather(tf.shape(x), self.axes)), x.dtype)
        return self.local_sum(tf.cast(tf.broadcast_to(self.mask, tf.shape(x)), x.dtype))


class Statistics(NamedTuple):
    """Mean and variance, of length 1 along the axes they were taken over, and the count behind them.

    Where nothing was counted mean and variance are 0.
    """

    mean: tf.Tensor
    variance: tf.Tensor
    count: tf.Tensor


def sum_over(x, axes):
    """The sum of `x` over some axes, which keep length 1.

    Taken run by run of neighbouring axes: TensorFlow transposes where kept axes alternate with summed ones,
    and what the first run leaves is small.
    """
    for run in _runs(axes):
        x = tf.reduce_sum(x, run, keepdims=True)
    return x


def _runs(axes):
    """Axes as runs of neighbours."""
    runs: list[list[int]] = []
    for axis in sorted(axes):
        if runs and runs[-1][-1] == axis - 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def statistics(x, region):
    """μ = Σx/n and σ² = Σ(x − μ)²/n over a region, differentiable to every order.

    Sums are of x less one of its own elements, so that neither a mean far above the deviation nor a constant
    input costs digits. As a constant shift changes neither μ nor σ², no derivative passes through it.

    Args:
        x: float32 or float64.
        region: The `Region`.
    """
    count = region.local_count(x)
    share = 1.0 / tf.maximum(count, 1.0)
    shift = tf.stop_gradient(region.local_sum(_first(region.keep(x), region.axes)))
    shifted = region.keep(x - region.spread(shift, x))
    centre = region.local_sum(shifted) * share
    deviation = tf.math.squared_difference(shifted, region.spread(centre, x))
    scatter = region.local_sum(region.keep(deviation))
    mean = tf.where(count > 0.0, shift + centre, tf.zeros_like(centre))
    if region.synchronized:
        return _merged(mean, scatter, count, region)
    return Statistics(mean, scatter * share, count)


def _first(x, axes):
    """The first element along each of the axes; nothing where there is none."""
    return x[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(x.shape.rank))]


def _merged(mean, scatter, count, region):
    """Statistics of all replicas from those of each, by Chan's formula."""
    total, summed = region.reduced([count, count * mean])
    share = 1.0 / tf.maximum(total, 1.0)
    merged = summed * share
    (scatter,) = region.reduced([scatter + count * tf.square(mean - merged)])
    return Statistics(merged, scatter * share, total)
