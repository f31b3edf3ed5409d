"""What losses made of other losses share: the parts as Keras' compile takes them, and configuration."""

import copy

import keras

from tfopt._check import require
from tfopt.losses._glue import as_loss


class ComposedLoss(keras.losses.Loss):
    """A loss made of others, each with its own reduction, masks and sample weights: abstract.

    A subclass says in `reduced` what becomes of the reduced values of its parts. `parts` maps the names of
    constructor arguments to losses, all that this one calls.
    """

    def __init__(self, parts, name, dtype):
        super().__init__(name=name, reduction=None, dtype=dtype)
        self._given = dict(parts)
        owner = type(self).__name__
        self.parts = {argument: resolved(owner, argument, given) for argument, given in parts.items()}

    def reduced(self, y_true, y_pred, sample_weight):
        """The value of the loss on a batch."""
        raise NotImplementedError

    def __call__(self, y_true, y_pred, sample_weight=None):
        with keras.name_scope(self.name):
            return keras.ops.cast(self.reduced(y_true, y_pred, sample_weight), self.dtype)

    def call(self, y_true, y_pred):
        """The value of each sample, or each position in it: the loss of parts without their reductions."""
        return _unreduced(self).reduced(y_true, y_pred, None)

    def part(self, argument):
        """The loss given as `argument`."""
        return self.parts[argument]

    def get_config(self):
        """Constructor arguments, complete."""
        parts = {argument: serialized(given) for argument, given in self._given.items()}
        return {**parts, "name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config):
        """The loss that `get_config` described."""
        return cls(**{argument: deserialized(value) for argument, value in config.items()})


def leaves(loss):
    """The losses that a loss is made of in the end: itself, if it is not composed."""
    if not isinstance(loss, ComposedLoss):
        return [loss]
    return [leaf for part in loss.parts.values() for leaf in leaves(part)]


def _unreduced(loss):
    """A copy of the loss that reduces nothing."""
    twin = copy.copy(loss)
    twin.reduction = None
    if isinstance(loss, ComposedLoss):
        twin.parts = {argument: _unreduced(part) for argument, part in loss.parts.items()}
    return twin


def resolved(owner, argument, given):
    """The loss that `given` names, or a ValueError."""
    expected = "a Keras loss: its name, a function of y_true and y_pred, or a keras.losses.Loss"
    require(given is not None, owner, argument, given, expected)
    try:
        return as_loss(given)
    except (ValueError, TypeError):
        require(False, owner, argument, given, expected)


def serialized(given):
    """A loss or a function as a configuration holds it; names stay names."""
    if given is None or isinstance(given, (str, dict)):
        return given
    return keras.saving.serialize_keras_object(given)


def deserialized(value):
    """What `serialized` has written; anything else as it is."""
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return value
