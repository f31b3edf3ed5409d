"""find_identical_units: hidden units that training can never tell apart."""

from typing import NamedTuple

import numpy as np

from tfopt.analysis._finding import Finding
from tfopt.symmetry._units import Blocked, require_graph, units_along, units_of


class Group(NamedTuple):
    """Units of one layer that stay equal.

    Attributes:
        layer: Name of the layer.
        units: Their indices.
        broken_by: Names of layers, such as dropout, whose randomness does tell them apart.
    """

    layer: str
    units: tuple
    broken_by: tuple


class IdenticalUnits(NamedTuple):
    """All groups of a model.

    Attributes:
        groups: A `Group` for each set of two or more units.
        skipped: Name of each layer with weights that was not looked at -> why.
    """

    groups: tuple
    skipped: dict

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        return [
            Finding(
                name=f"identical units in {group.layer}",
                sentence=f"{len(group.units)} units of {group.layer} have the same weights in and out: "
                f"{', '.join(map(str, group.units[:8]))}{', …' if len(group.units) > 8 else ''}."
                + (f" Only {', '.join(group.broken_by)} tells them apart." if group.broken_by else ""),
                reason="Units with the same activation, inputs and weights have the same gradient: any "
                "algorithm without randomness changes them alike for ever, and they count as one.",
                advice="Random initial weights, different for each unit; they need not be large.",
            )
            for group in self.groups
        ]


def find_identical_units(model):
    """Groups of hidden units that no non-random algorithm can ever tell apart.

    Two units that compute the same function of the input and whose outputs are used in the same way have
    equal gradients, so SGD, Adam, L-BFGS or any other method that treats weights alike keeps them equal,
    however long it trains. Found by refining classes of units until nothing changes: all units of a layer
    start in one class; a class is split where, for some weight array around them, the collections of weights
    from or to any one class differ between units. Inputs and outputs of the model are classes of one each.
    What is left is closed under training: weights between the same two classes get the same gradients.

    So the answer is about pairs with the same weights up to an exchange of equal units elsewhere, such as in
    two successive layers both initialised to constants. Units equal on the way in alone, that lead to
    different weights, get different gradients and are not listed. Weights are compared exactly.

    Args:
        model: A built Sequential or functional model. Layers as for `permute_units`; others, and those that
            lead into layers that may mix units, are named in ``skipped`` and count as distinct.

    Returns:
        An `IdenticalUnits`, with ``groups``, each with ``layer``, ``units`` and ``broken_by``, with
        ``skipped`` and ``findings``.

    Raises:
        ValueError: If the model is not built, or not Sequential or functional.

    Example:
        >>> import keras, tfopt
        >>> hidden = keras.layers.Dense(4, "tanh", kernel_initializer="ones", name="hidden")
        >>> out = keras.layers.Dense(1, kernel_initializer="ones")
        >>> found = tfopt.symmetry.find_identical_units(keras.Sequential([keras.Input((3,)), hidden, out]))
        >>> found.groups[0].layer, found.groups[0].units
        ('hidden', (0, 1, 2, 3))

    Source: chapter section 9; Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4; the
    refinement is that of Weisfeiler and Leman, 1968, on weighted graphs.
    """
    require_graph("find_identical_units", model)
    known, skipped = [], {}
    for layer in model.layers:
        try:
            known += [units_of(model, layer)] if layer.weights else []
        except Blocked as reason:
            skipped[layer.name] = str(reason)
    classes = _refined(known)
    groups = [
        Group(units.layer.name, tuple(np.flatnonzero(row == one).tolist()), units.random)
        for units, row in zip(known, classes, strict=True)
        for one in np.unique(row)
        if np.sum(row == one) > 1
    ]
    return IdenticalUnits(tuple(groups), skipped)


def _refined(known):
    """The class of each unit, by layer, once no class is split any more."""
    classes = [np.zeros(units.size, int) for units in known]
    axes: dict = {}
    for index, units in enumerate(known):
        for place in units.places:
            axes.setdefault(id(place.variable), {})[place.axis] = index
    while True:
        finer = [_split(units, row, known, classes, axes) for units, row in zip(known, classes, strict=True)]
        if all(new.max() == old.max() for new, old in zip(finer, classes, strict=True)):
            return classes
        classes = finer


def _split(units, row, known, classes, axes):
    """The classes of a layer's units, split by the weights around them."""
    signatures = [[str(one).encode()] for one in row]
    for place in units.places:
        keys = _keys(place, known, classes, axes[id(place.variable)])
        weights = np.moveaxis(place.variable.numpy(), place.axis, 0)
        unit = units_along(place, units.size)
        for one in range(units.size):
            signatures[one].append(_collection(weights[unit == one], keys))
    return np.unique([b"|".join(parts) for parts in signatures], return_inverse=True)[1].reshape(-1)


def _keys(place, known, classes, indexed):
    """For each weight beside the place's axis: a number that says from or to which class it leads."""
    shape = place.variable.shape
    keys = np.zeros([1] * len(shape), int)
    for axis, length in enumerate(shape):
        if axis == place.axis:
            continue
        along, size = np.arange(length), length
        if axis in indexed:
            count, row = known[indexed[axis]].size, classes[indexed[axis]]
            along, size = along // count * count + row[along % count], length
        keys = keys * size + along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    keys = np.broadcast_to(keys, [1 if a == place.axis else n for a, n in enumerate(shape)])
    return np.moveaxis(keys, place.axis, 0)[0].ravel()


def _collection(weights, keys):
    """The weights of one unit, block by block, in an order that does not depend on equal keys' order."""
    # Adding 0 makes −0 and 0 one.
    rows = weights.reshape(len(weights), -1).astype(float) + 0.0
    return b"".join(row[np.lexsort((row, keys))].tobytes() for row in rows)
