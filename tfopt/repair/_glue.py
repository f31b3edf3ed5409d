"""The private hooks of Keras that the repairs stand on, and no other file touches."""

from keras.src.backend.tensorflow import nn

from tfopt.repair._moments import moments
from tfopt.repair._repair import Patch

# Every normalisation layer of Keras takes its statistics from this function.
MOMENTS = Patch(nn, "_compute_moments", moments)


def layers_within(layer):
    """A layer and every layer inside it, wrapped ones too."""
    return layer._flatten_layers()
