"""Normalisation of each sample by groups of its channels, which instance normalisation is a case of."""

import keras
import tensorflow as tf

from tfopt._check import require
from tfopt.layers._layer import (
    NormalizationLayer,
    expanded,
    known_lengths,
    positive_axis,
    scale_and_offset,
    to_floating,
)
from tfopt.layers._normalize import normalize, wide
from tfopt.layers._statistics import Region


class GroupedLayer(NormalizationLayer):
    """Splits the channel axis in (groups, channels of a group) and normalises over all but the groups.

    A layer says how many groups there are and sets `axis` and `scale_shape`.
    """

    def groups_of(self, channels):
        """Number of groups that so many channels fall into."""
        raise NotImplementedError

    def build(self, input_shape):
        owner, rank = type(self).__name__, len(input_shape)
        self.channel_axis = positive_axis(owner, self.axis, rank, first=1)
        (channels,) = known_lengths(owner, input_shape, [self.channel_axis])
        self.split = (self.groups_of(channels), channels // self.groups_of(channels))
        at = self.channel_axis
        self.axes = tuple(axis for axis in range(1, rank + 1) if axis != at)
        spatial = [axis for axis in range(1, rank) if axis != at and "element" in self.scale_shape]
        lengths = dict(zip(spatial, known_lengths(owner, input_shape, spatial), strict=True))
        shared = [lengths.get(axis, 1) for axis in range(rank)]
        per_channel = self.scale_shape in ("channel", "element")
        self.view = [*shared[:at], self.split[0], self.split[1] if per_channel else 1, *shared[at + 1 :]]
        self.input_spec = keras.InputSpec(ndim=rank, axes={**lengths, at: channels})
        lengths[at] = channels if per_channel else self.split[0]
        self.add_scale_and_offset([lengths[axis] for axis in sorted(lengths)])

    def call(self, inputs, mask=None, training=None):
        x = to_floating(inputs, self.compute_dtype)
        gamma, beta = scale_and_offset(self, self.view, wide(x).dtype)
        mask = expanded(type(self).__name__, mask, x.shape.rank, self.channel_axis)
        region = Region(self.axes, None if mask is None else self._divided(mask))
        fuse = bool(self.fused and training)
        y, _ = normalize(self._divided(x), gamma, beta, region, self.epsilon, fuse)
        return tf.cast(tf.reshape(y, tf.shape(x)), self.compute_dtype)

    def _divided(self, x):
        """`x` with the channel axis as two; an axis of length 1 becomes two of length 1."""
        at, shape = self.channel_axis, tf.shape(x)
        split = self.split if x.shape[at] != 1 else (1, 1)
        divided = tf.reshape(x, tf.concat([shape[:at], split, shape[at + 1 :]], 0))
        divided.set_shape([*x.shape[:at], *split, *x.shape[at + 1 :]])
        return divided


def require_divisor(owner, groups, channels):
    """Require a number of groups to divide the number of channels; the message names those that do."""
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    expected = f"a divisor of the {channels} channels: {', '.join(map(str, divisors))}"
    require(groups in divisors, owner, "groups", groups, expected)
