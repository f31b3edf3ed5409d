"""permute_units: the same model with the hidden units of a layer in another order."""

import numpy as np

from tfopt._check import require
from tfopt.symmetry._units import Blocked, copy_of, layer_of, require_graph, units_along, units_of


def permute_units(model, layer, order):
    """An equivalent model with the units of one layer in another order.

    Exchanging the units of a hidden layer, with all that leads to them and away from them, changes the
    weights and not the function: n units have n! such arrangements, so that every minimum comes at least n!
    times, with one value. With π the `order`, W leading to the units and V away::

        W'_{·j} = W_{·π(j)},   b'_j = b_{π(j)},   V'_{j·} = V_{π(j)·}

    and likewise what lies between: batch and layer normalisation, PReLU, Flatten after a convolution, the
    gates and recurrent weights of a recurrent layer.

    Layers that have such units: Dense, Conv1D to Conv3D and their transposes (channels last, one group),
    SimpleRNN, LSTM, GRU, Embedding. Between them and the next of these may stand normalisation, dropout,
    pooling, padding, elementwise activations and Flatten; a branch is followed, a merge is refused.

    Args:
        model: A built Sequential or functional model.
        layer: A layer of it, or its name.
        order: π: the numbers 0 … n − 1, each once; unit j of the new model is unit ``order[j]`` of the old.

    Returns:
        A copy of the model, not compiled; its outputs are the same up to the order of summation. The model
        itself is left as it is.

    Raises:
        ValueError: If an argument does not fit, or a layer on the way may mix units; it is named.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> layers = [keras.layers.Dense(3, "tanh", name="hidden"), keras.layers.Dense(2)]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> other = tfopt.symmetry.permute_units(model, "hidden", [2, 0, 1])
        >>> x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
        >>> bool(np.allclose(model(x), other(x), atol=1e-6)), np.allclose(model.weights[0], other.weights[0])
        (True, False)

    Source: chapter section 2.2 (weight space symmetry).
    """
    owner = "permute_units"
    units = known_units(owner, model, layer)
    order = np.asarray(order)
    good = order.shape == (units.size,) and sorted(order.tolist()) == list(range(units.size))
    require(good, owner, "order", order.tolist(), f"the numbers 0 to {units.size - 1}, each once")
    made = copy_of(model)
    for place in units.places:
        variable = twin_of(place.variable, model, made)
        unit = units_along(place, units.size)
        block = np.arange(len(unit)) - unit
        variable.assign(np.take(variable.numpy(), block + order[unit], axis=place.axis))
    return made


def known_units(owner, model, layer):
    """The units of a layer; a ValueError names what stands in the way."""
    require_graph(owner, model)
    layer = layer_of(owner, model, layer)
    try:
        return units_of(model, layer)
    except Blocked as reason:
        raise ValueError(f"{owner}(layer={layer.name!r}): expected hidden units; {reason}.") from None


def twin_of(variable, model, made):
    """The weight of the copy that stands where `variable` stands in the model."""
    (place,) = (i for i, known in enumerate(model.weights) if known is variable)
    return made.weights[place]
