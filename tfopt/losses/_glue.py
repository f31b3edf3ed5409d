"""The only file of the losses that touches Keras' private parts."""

import functools
import inspect

import keras
from keras.src.backend import get_keras_mask, set_keras_mask
from keras.src.losses.losses import LossFunctionWrapper


def as_loss(identifier):
    """The `keras.losses.Loss` that `compile` would make of a name, a function or a loss."""
    loss = keras.losses.get(identifier)
    if isinstance(loss, keras.losses.Loss):
        return loss
    return LossFunctionWrapper(loss, name=getattr(loss, "__name__", type(loss).__name__))


def function_of(loss):
    """The function inside a loss that Keras made of one, else None."""
    return loss.fn if isinstance(loss, LossFunctionWrapper) else None


def option_of(loss, name, otherwise):
    """What a loss hands its function as this argument, be it only the function's default."""
    function = function_of(loss)
    if function is None:
        return loss.get_config().get(name, otherwise)
    parameter = inspect.signature(function).parameters.get(name)
    default = otherwise if parameter is None else parameter.default
    return loss._fn_kwargs.get(name, default)


def mask_of(*tensors):
    """What the Keras masks of these tensors leave, None where there are none."""
    masks = [mask for mask in map(get_keras_mask, tensors) if mask is not None]
    return functools.reduce(keras.ops.logical_and, masks) if masks else None


def with_mask(tensor, mask):
    """`tensor`, which carries this Keras mask from now on."""
    set_keras_mask(tensor, mask)
    return tensor


def with_mask_of(tensor, source):
    """`tensor` with the Keras mask that `source` carries, if it carries one."""
    mask = get_keras_mask(source)
    return tensor if mask is None else with_mask(tensor, mask)
