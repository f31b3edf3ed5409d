"""The only file of the losses that touches Keras' private parts."""

import keras
from keras.src.backend import get_keras_mask, set_keras_mask
from keras.src.losses.losses import LossFunctionWrapper


def as_loss(identifier):
    """The `keras.losses.Loss` that `compile` would make of a name, a function or a loss."""
    loss = keras.losses.get(identifier)
    if isinstance(loss, keras.losses.Loss):
        return loss
    return LossFunctionWrapper(loss, name=getattr(loss, "__name__", type(loss).__name__))


def with_mask_of(tensor, source):
    """`tensor` with the Keras mask that `source` carries, if it carries one."""
    mask = get_keras_mask(source)
    if mask is not None:
        set_keras_mask(tensor, mask)
    return tensor
