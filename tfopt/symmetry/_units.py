"""Where the hidden units of a layer stand in the weights around them.

From a layer's output the way leads through layers that treat units alike to the layers that take them up.
"""

from typing import Any, NamedTuple

import keras
import numpy as np

from tfopt._check import require
from tfopt.symmetry import _kinds
from tfopt.symmetry._glue import calls_of


class Place(NamedTuple):
    """One axis of one weight along which units are counted, once or in blocks: gates, positions of Flatten.

    Attributes:
        variable: The weight.
        axis: The axis; index i belongs to unit i mod n.
        power: What a unit's scale does to it: 1 multiplies, −1 divides, 0 leaves it, None cannot be.
    """

    variable: Any
    axis: int
    power: int | None


class Units(NamedTuple):
    """The units of one layer.

    Attributes:
        layer: The layer.
        size: Their number.
        places: Every `Place` where they are counted.
        functions: (layer name, kind) of each nonlinearity on the way; the kinds are those of `_kinds`.
        random: Names of layers on the way that treat units differently by chance.
    """

    layer: Any
    size: int
    places: tuple
    functions: tuple
    random: tuple


class Blocked(Exception):
    """A layer stands in the way; the message says which one, and why."""


def require_graph(owner, model):
    """Require a built model whose layers' connections are known."""
    graph = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    expected = "a built Sequential or functional model"
    good = isinstance(model, keras.Model) and graph and model.built and bool(model.inputs)
    require(good, owner, "model", model, expected)


def layer_of(owner, model, layer):
    """A layer of the model, given itself or its name."""
    names = [known.name for known in model.layers]
    name = getattr(layer, "name", layer)
    good = name in names and (isinstance(layer, str) or layer in model.layers)
    require(good, owner, "layer", name, f"one of the model's layers: {', '.join(names)}")
    return model.get_layer(name)


def units_of(model, layer):
    """The `Units` of a layer; raises `Blocked`."""
    source = _kinds.source_of(layer)
    if source is None:
        raise Blocked(f"{_named(layer)} has no units of its own that could be told apart")
    walk = _Walk(model, layer, source)
    walk.follow(layer)
    return Units(layer, source.size, tuple(walk.places), tuple(walk.functions), tuple(walk.random))


class _Walk:
    """From a layer through what follows, collecting places."""

    def __init__(self, model, layer, source):
        self.calls, self.outputs = calls_of(model), {id(tensor) for tensor in model.outputs}
        self.places = [Place(*place) for place in source.places]
        self.functions = [(layer.name, kind) for kind in source.functions]
        self.random = [layer.name] if source.random else []

    def follow(self, layer):
        """Go through everything that takes up the output of `layer`."""
        (call,) = self._calls_of(layer)
        if id(call[2][0]) in self.outputs or len(call[2]) != 1:
            raise Blocked(f"the output of {_named(layer)} is one of the model's, or several")
        takers = [taker for taker in self.calls if any(t is call[2][0] for t in taker[1])]
        for operation, inputs, _ in takers:
            self._calls_of(operation)
            if len(inputs) != 1:
                raise Blocked(f"{_named(operation)} joins several tensors")
            self._take(operation, inputs[0])

    def _calls_of(self, operation):
        calls = [call for call in self.calls if call[0] is operation]
        if len(calls) != 1:
            raise Blocked(f"{_named(operation)} is called {len(calls)} times")
        return calls

    def _take(self, layer, tensor):
        end = _kinds.end_of(layer)
        if end is not None:
            self.places += [Place(variable, axis, -1) for variable, axis in end]
            return
        passing = _kinds.passing_of(layer, tensor)
        if passing is None:
            raise Blocked(f"what {_named(layer)} does to single units is not known")
        self.places += [Place(*place) for place in passing.places]
        self.functions += [(layer.name, kind) for kind in passing.functions]
        self.random += [layer.name] if passing.random else []
        self.follow(layer)


def _named(operation):
    return f"{operation.name!r} ({type(operation).__name__})"


def units_along(place, count):
    """The unit of each index along the axis of a place."""
    length = place.variable.shape[place.axis]
    return np.arange(length) % count


def copy_of(model):
    """A copy of the model with its weights, not compiled."""
    made = keras.models.clone_model(model)
    made.set_weights(model.get_weights())
    return made
