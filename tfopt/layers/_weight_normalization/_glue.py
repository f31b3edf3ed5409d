"""The only file of weight normalization that touches Keras' private parts."""

from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.backend.common.variables import AutocastScope


def stateless_scope():
    """The stateless scope that variables are read in now, or None."""
    return get_stateless_scope()


def full_precision():
    """A scope in which variables are read as they are, not in the type that a layer computes in."""
    return AutocastScope(None)
