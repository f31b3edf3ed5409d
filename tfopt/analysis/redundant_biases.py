"""redundant_biases: biases that batch normalisation takes off again."""

import math
from typing import NamedTuple

import keras

from tfopt.analysis._convolutions import CONVOLUTIONS
from tfopt.analysis._finding import Finding
from tfopt.layers.batch_normalization import BatchNormalization
from tfopt.symmetry._glue import calls_of
from tfopt.symmetry._units import require_graph

NORMALIZATIONS = (keras.layers.BatchNormalization, BatchNormalization)
WITH_BIAS = (
    keras.layers.Dense,
    *CONVOLUTIONS,
)
# A constant added to a channel is added to what these make of it.
KEEPS_A_CONSTANT = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)


class RedundantBias(NamedTuple):
    """One bias.

    Attributes:
        layer: Name of the layer that has it.
        normalizations: Names of the layers that take it off.
        size: Number of its elements.
    """

    layer: str
    normalizations: tuple
    size: int


class RedundantBiases(NamedTuple):
    """All such biases of a model.

    Attributes:
        biases: A `RedundantBias` for each.
    """

    biases: tuple

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        return [
            Finding(
                name=f"redundant bias in {bias.layer}",
                sentence=f"{', '.join(bias.normalizations)} takes off the bias of {bias.layer}, "
                f"{bias.size} weights.",
                reason="Whatever b is, normalisation subtracts it with the mean: in training it changes "
                "nothing and its gradient is 0. The offset β of the normalisation has its part.",
                advice=f"`use_bias=False` in {bias.layer}; `center=True` in the normalisation.",
            )
            for bias in self.biases
        ]


def redundant_biases(model):
    """Biases that do nothing because batch normalisation subtracts them: φ(BN(XW)) needs no b.

    The mean over a batch of XW + b is that of XW plus b, so that normalisation takes b off; its β is there
    instead. Found are trainable biases of Dense and convolutional layers without an activation, whose
    outputs go, directly or through pooling over positions, to nothing but trainable
    BatchNormalization layers, of Keras or of tfopt, over the same channels. A layer that also feeds
    something else, such as a shortcut, is not listed, nor one in front of a frozen normalisation, which
    subtracts a constant. Wrapped layers (TimeDistributed, WeightNormalization) and models inside are looked
    at, the latter each by itself. Needs no data.

    Args:
        model: A built Sequential or functional model.

    Returns:
        A `RedundantBiases`, with ``biases``, each with ``layer``, ``normalizations`` and ``size``, and with
        ``findings``.

    Raises:
        ValueError: If the model is not built, or not Sequential or functional.

    Example:
        >>> import keras, tfopt
        >>> layers = [keras.layers.Dense(8, name="hidden"), keras.layers.BatchNormalization(name="bn")]
        >>> model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
        >>> tfopt.analysis.redundant_biases(model).biases
        (RedundantBias(layer='hidden', normalizations=('bn',), size=8),)

    Source: Ioffe and Szegedy, Batch Normalization, 2015, section 3.2; chapter section 10.1.3.
    """
    require_graph("redundant_biases", model)
    return RedundantBiases(tuple(_of(model)))


def _of(model):
    calls, ends = calls_of(model)[::-1], {id(tensor) for tensor in model.outputs}
    for layer in dict.fromkeys(operation for operation, _, _ in calls):
        if isinstance(layer, keras.Model) and layer.built and layer.inputs:
            yield from _of(layer)
        bias = _bias_of(layer)
        if bias is None:
            continue
        tensors = [tensor for operation, _, made in calls if operation is layer for tensor in made]
        takers = _takers(tensors, calls, ends)
        if takers and all(_takes_off(taker, tensor, layer) for taker, tensor in takers):
            names = tuple(sorted({taker.name for taker, _ in takers}))
            yield RedundantBias(layer.name, names, math.prod(bias.shape))


def _bias_of(layer):
    """The trainable bias that a layer adds last, None where there is no such."""
    layer = _unwrapped(layer)
    if not isinstance(layer, WITH_BIAS) or not layer.use_bias or not layer.trainable:
        return None
    linear = layer.activation in (None, keras.activations.linear)
    return layer.bias if linear else None


def _unwrapped(layer):
    while isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    return layer


def _takers(tensors, calls, ends):
    """(layer, tensor) of what takes up the tensors, behind pooling; (None, tensor) for an output."""
    found = []
    for tensor in tensors:
        if id(tensor) in ends:
            return [(None, tensor)]
        for operation, inputs, made in calls:
            if not any(one is tensor for one in inputs):
                continue
            if isinstance(operation, KEEPS_A_CONSTANT):
                found += _takers(made, calls, ends)
            else:
                found.append((operation, tensor))
    return found


def _takes_off(taker, tensor, layer):
    """Whether a layer normalises each of the channels that the bias is added to."""
    if not isinstance(taker, NORMALIZATIONS) or not taker.trainable:
        return False
    if getattr(taker, "per", "channel") == "unit":
        return True
    rank = len(tensor.shape)
    first = getattr(_unwrapped(layer), "data_format", "channels_last") == "channels_first" and rank > 2
    return taker.axis % rank == (1 if first else rank - 1)
