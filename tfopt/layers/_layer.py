"""What all normalisation layers share: scale and offset, masks, configuration."""

import keras
import tensorflow as tf

from tfopt._check import is_integer, require, require_flags, require_not_negative

PARTS = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}
INITIAL = {"beta_initializer": "zeros", "gamma_initializer": "ones"}


class NormalizationLayer(keras.layers.Layer):
    """Base of the layers that answer γ x̂ + β; they say how x̂ is taken.

    Class attributes of a layer:
        arguments: Names of its own constructor arguments, each kept in an attribute of that name.
        parts: Names of its initializers, regularizers and constraints.
    """

    arguments: tuple[str, ...] = ()
    parts = tuple(f"{weight}_{part}" for part in PARTS for weight in ("beta", "gamma"))
    initial = INITIAL

    def __init__(self, *, epsilon=1e-3, center=True, scale=True, fused=True, **options):
        parts = {name: options.pop(name, self.initial.get(name)) for name in self.parts}
        super().__init__(autocast=False, **options)
        require_not_negative(type(self).__name__, epsilon=epsilon)
        require_flags(type(self).__name__, center=center, scale=scale, fused=fused)
        self.fused = fused
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        for name, part in parts.items():
            setattr(self, name, _kind(name).get(part))
        self.gamma = self.beta = None
        self.supports_masking = True

    def add_scale_and_offset(self, shape):
        """Create γ and β, where the layer has them."""
        for name, wanted in {"gamma": self.scale, "beta": self.center}.items():
            if wanted:
                parts = {part: getattr(self, f"{name}_{part}") for part in PARTS}
                weight = self.add_weight(name=name, shape=shape, autocast=False, **parts)
                setattr(self, name, weight)

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs, *_, **__):
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self):
        own = {name: getattr(self, name) for name in (*self.arguments, "epsilon", "center", "scale", "fused")}
        parts = {name: _kind(name).serialize(getattr(self, name)) for name in self.parts}
        return super().get_config() | own | parts


def _kind(name):
    """Keras' module for an argument such as "gamma_initializer"."""
    return PARTS[name.rsplit("_", 1)[1]]


def scale_and_offset(layer, shape, dtype):
    """A layer's γ and β as tensors of a shape with the input's rank; 1 and 0 where it has none."""
    absent = [1] * len(shape)
    gamma = tf.ones(absent, dtype) if layer.gamma is None else _viewed(layer.gamma, shape, dtype)
    beta = tf.zeros(absent, dtype) if layer.beta is None else _viewed(layer.beta, shape, dtype)
    return gamma, beta


def _viewed(weight, shape, dtype):
    return tf.reshape(tf.cast(weight.value, dtype), shape)


def to_floating(inputs, dtype):
    """Inputs as they came if they are floating-point, otherwise in a dtype."""
    x = tf.convert_to_tensor(inputs)
    return x if x.dtype.is_floating else tf.cast(x, dtype)


def expanded(owner, mask, rank, channel_axis):
    """A mask of the input's rank: one axis is missing in it for the channels, and any number at its end."""
    if mask is None:
        return None
    mask = tf.cast(mask, tf.bool)
    if mask.shape.rank == rank:
        return mask
    require(mask.shape.rank < rank, owner, "mask", mask.shape, f"at most {rank} axes, as many as the input")
    for _ in range(rank - 1 - mask.shape.rank):
        mask = mask[..., None]
    return tf.expand_dims(mask, channel_axis)


def integral_axis(owner, axis):
    """The argument `axis` as an int, checked to be an integer."""
    require(is_integer(axis), owner, "axis", axis, "an integer")
    return int(axis)


def positive_axis(owner, axis, rank, first=0):
    """An axis counted from 0, checked to lie from `first` on within the rank."""
    allowed = f"an axis from {first} to {rank - 1}, or counted from the end, for an input of {rank} axes"
    found = axis + rank if axis < 0 else axis
    require(first <= found < rank, owner, "axis", axis, allowed)
    return found


def known_lengths(owner, input_shape, axes):
    """Lengths of some of an input's axes, required to be known."""
    lengths = tuple(input_shape[axis] for axis in axes)
    known = all(length is not None for length in lengths)
    require(known, owner, "input_shape", tuple(input_shape), f"known lengths along the axes {tuple(axes)}")
    return lengths
