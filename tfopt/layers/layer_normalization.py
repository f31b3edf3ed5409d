"""LayerNormalization: each sample by the mean and variance of its own features."""

from collections.abc import Iterable

import keras
import tensorflow as tf

from tfopt._check import is_integer, require, require_choice
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


@keras.saving.register_keras_serializable(package="tfopt")
class LayerNormalization(NormalizationLayer):
    """Layer normalisation: every sample by the mean and the variance of its own features.

    With sums over the axes in `axis`, n elements in all, for each sample by itself::

        μ = Σh/n      σ² = Σ(h − μ)²/n      y = γ ⊙ (h − μ)/√(σ² + ε) + β

    The answer for a sample depends neither on the other samples nor on their number, in training and at
    inference alike. Statistics are float32 for float16 and bfloat16 inputs, and right for inputs far from
    zero as well as for constant ones, whose normalised value is 0 with ε > 0. First derivatives follow the
    chapter's formulas and keep no more than the inputs and the statistics; derivatives of every order are
    right.

    A Keras mask passes through. Where the normalised axes include axes of the mask, elements masked out do
    not count in the statistics, and come out as β.

    Differs from Keras: second derivatives are right, γ may be shared along the axes, masks count.

    Args:
        axis: Axis or axes to take statistics over, not the first; their lengths must be known. Counted from
            the end, they serve inputs of every rank, once built for those lengths.
        scale_shape: Shape of γ and β: "element", one for each element that is normalised together, or
            "channel", one for each index of the last axis, which `axis` must then hold.
        epsilon: ε >= 0, in squared units of the inputs.
        center: Whether there is β.
        scale: Whether there is γ.
        fused: Whether fused kernels serve in training where there are any, as `tfopt.kernels.status` says. At
            inference TensorFlow's own operations do, so that an exported model needs nothing of tfopt.
        **options: `beta_initializer`, `gamma_initializer`, `beta_regularizer`, `gamma_regularizer`,
            `beta_constraint` and `gamma_constraint` as in Keras' layer; `name`, `dtype` and `trainable` as in
            every layer.

    Raises:
        ValueError: If an argument lies outside its range or does not fit the inputs.

    Input and output: tensors of one shape, of two axes or more; the output has the layer's compute dtype.

    Example:
        >>> import numpy as np, tfopt
        >>> layer = tfopt.layers.LayerNormalization(epsilon=1e-12)
        >>> np.round(layer(np.array([[1.0, 3.0], [10.0, 30.0]])), 3).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016; chapter section 10.2.1.
    """

    arguments = ("axis", "scale_shape")

    def __init__(self, axis=-1, scale_shape="element", **options):
        super().__init__(**options)
        require_choice("LayerNormalization", ("element", "channel"), scale_shape=scale_shape)
        self.axis = _integral_axes(axis)
        self.scale_shape = scale_shape

    def build(self, input_shape):
        owner, rank = "LayerNormalization", len(input_shape)
        wanted = (self.axis,) if isinstance(self.axis, int) else self.axis
        axes = sorted({positive_axis(owner, axis, rank, first=1) for axis in wanted})
        require(len(axes) == len(wanted), owner, "axis", self.axis, "one axis or several different ones")
        if self.scale_shape == "channel":
            require(axes[-1] == rank - 1, owner, "axis", self.axis, 'the last axis for scale_shape="channel"')
        own = axes[-1:] if self.scale_shape == "channel" else axes
        lengths = dict(zip(own, known_lengths(owner, input_shape, own), strict=True))
        # Counted from the end, so that they are right for inputs of other ranks too.
        self.axes = tuple(axis - rank for axis in axes)
        self.view = tuple(lengths.get(axis, 1) for axis in range(own[0], rank))
        self.input_spec = keras.InputSpec(
            ndim=None if max(wanted) < 0 else rank,
            min_ndim=1 - self.axes[0],
            axes={axis - rank: length for axis, length in lengths.items()},
        )
        self.add_scale_and_offset(list(lengths.values()))

    def call(self, inputs, mask=None, training=None):
        x = to_floating(inputs, self.compute_dtype)
        rank = x.shape.rank
        view = [*[1] * (rank - len(self.view)), *self.view]
        gamma, beta = scale_and_offset(self, view, wide(x).dtype)
        region = Region(tuple(axis + rank for axis in self.axes), self._mask_within(mask, rank))
        y, _ = normalize(x, gamma, beta, region, self.epsilon, bool(self.fused and training))
        return tf.cast(y, self.compute_dtype)

    def _mask_within(self, mask, rank):
        """The mask where it divides elements that are normalised together, None where it does not."""
        mask = expanded(type(self).__name__, mask, rank, -1)
        divides = mask is not None and any(mask.shape[axis] != 1 for axis in self.axes)
        return mask if divides else None


def _integral_axes(axis):
    """The argument `axis` as an int or a tuple of them."""
    wanted = tuple(axis) if isinstance(axis, Iterable) else (axis,)
    fits = len(wanted) > 0 and all(map(is_integer, wanted))
    require(fits, "LayerNormalization", "axis", axis, "an integer or several different ones")
    return tuple(map(int, wanted)) if isinstance(axis, Iterable) else int(axis)
