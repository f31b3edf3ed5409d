"""Calls of a layer in which some of its variables have other values."""

import keras

from tfopt.layers._weight_normalization import _glue


class Substitution(keras.StatelessScope):
    """Lets variables be read as other values; what is assigned inside waits in `updates`.

    Variables that are not replaced are read as in the scope around this one, if there is one.
    """

    def __init__(self, values):
        super().__init__(values, collect_losses=True)
        self.around = _glue.stateless_scope()
        self.updates = {}

    def get_current_value(self, variable):
        value = super().get_current_value(variable)
        if value is None and self.around is not None:
            value = self.around.get_current_value(variable)
        return value

    def add_update(self, update):
        super().add_update(update)
        variable, value = update
        self.updates[id(variable)] = (variable, value)


def call_with(values, layer, *args, **kwargs):
    """Call a layer with values in the place of those that some of its variables hold.

    Gradients flow to what the values were computed from.

    Args:
        values: Pairs (variable, tensor).
        layer: The layer.
        *args: Of the call.
        **kwargs: Of the call.

    Returns:
        Its output, the losses it added, and pairs (variable, new value) of the variables it assigned.
    """
    with Substitution(values) as scope:
        output = layer(*args, **kwargs)
    return output, scope.losses, list(scope.updates.values())
