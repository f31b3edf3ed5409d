"""A model as a chain of blocks and a head, found in its graph or cut where the user says."""

import collections
import dataclasses
from typing import Any

import keras

from tfopt import layers
from tfopt._check import require
from tfopt.callbacks._glue import graph_of

OWNER = "GreedyPretraining"
# Their weights scale what another layer has made, so they belong to its block.
ELEMENTWISE = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.PReLU,
    keras.layers.RMSNormalization,
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.InstanceNormalization,
    layers.LayerNormalization,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """One hidden block.

    Attributes:
        name: Of the layer that makes it a block, or the one the user gave.
        end: The tensor that it hands on.
        layers: Its layers.
    """

    name: str
    end: Any
    layers: list


@dataclasses.dataclass(frozen=True)
class Chain:
    """Blocks one after the other, then the head: the calls from the last block to the outputs."""

    inputs: Any
    outputs: Any
    blocks: list
    head: list


@dataclasses.dataclass(frozen=True)
class Link:
    """The calls between two tensors through which all has to pass; the last link may have no end."""

    calls: list
    end: Any

    @property
    def name(self):
        """Name of what makes the end."""
        return self.calls[-1].operation.name

    @property
    def layers(self):
        """Layers in the link."""
        found = (call.operation for call in self.calls)
        return [operation for operation in found if isinstance(operation, keras.layers.Layer)]

    @property
    def kernel(self):
        """The first layer with a matrix of weights to train, None where there is none."""
        return next((layer for layer in self.layers if _has_kernel(layer)), None)


def chain_of(model, names):
    """Blocks and head of a model; blocks end at the layers named, or are found where `names` is None.

    Raises:
        ValueError: If the model has no graph, is no chain at the layers named, or has no hidden block.
    """
    graph = graph_of(model)
    expected = "a Sequential or functional model that is built; start it with keras.Input(shape)"
    require(graph is not None, OWNER, "model", model, expected)
    links = links_of(graph)
    ends = _found(links, graph) if names is None else _named(links, graph, names)
    starts = [0, *(end + 1 for end in ends)]
    blocks = [_block(links[start : end + 1], names) for start, end in zip(starts, ends, strict=False)]
    head = [call for link in links[starts[-1] :] for call in link.calls]
    return Chain(graph.inputs, graph.outputs, blocks, head)


def links_of(graph):
    """The graph cut at every tensor through which all paths from the inputs to the outputs pass."""
    outputs = keras.tree.flatten(graph.outputs)
    uses = collections.Counter(id(t) for call in graph.calls for t in _once(call.inputs))
    uses.update(id(t) for t in _once(outputs))
    open_ends = {id(t) for t in keras.tree.flatten(graph.inputs)}
    links, calls = [], []
    for call in graph.calls:
        calls.append(call)
        for tensor in _once(call.inputs):
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                open_ends.discard(id(tensor))
        open_ends |= {id(t) for t in call.outputs if uses[id(t)]}
        if len(open_ends) == 1:
            (end,) = (t for t in call.outputs if id(t) in open_ends)
            links.append(Link(calls, end))
            calls = []
    return [*links, Link(calls, None)] if calls else links


def _once(tensors):
    return {id(t): t for t in tensors}.values()


def _has_kernel(layer):
    matrices = any(len(weight.shape) > 1 for weight in layer.trainable_weights)
    return matrices and not isinstance(layer, ELEMENTWISE)


def _found(links, graph):
    """Where hidden blocks end: before each further layer with a kernel, the last of which is the head's."""
    kernels = [place for place, link in enumerate(links) if link.kernel is not None]
    if len(kernels) < 2:
        several = [c.operation for c in graph.calls if isinstance(c.operation, keras.layers.Layer)]
        _refuse([layer.name for layer in several if _has_kernel(layer)])
    ends = [place - 1 for place in kernels[1:]]
    # What changes the form of the last block's output, such as Flatten, is there for the head.
    for place in range(kernels[-2] + 1, kernels[-1]):
        if len(links[place].end.shape) != len(links[place - 1].end.shape):
            ends[-1] = place - 1
            break
    return ends


def _refuse(kernels):
    """Say why there is no hidden block: too few layers, or no tensor between them that carries all."""
    chain = f"a chain of blocks, which branches between {', '.join(kernels)} are not; name `blocks` that are"
    none = "a hidden layer to pretrain, one with trainable weights before the layer of the outputs"
    require(False, OWNER, "model", kernels, chain if len(kernels) > 2 else none)


def _named(links, graph, names):
    """Where the layers of these names end a link."""
    known = list(dict.fromkeys(call.operation.name for call in graph.calls))
    places = {link.name: place for place, link in reversed(list(enumerate(links))) if link.end is not None}
    ends: list = []
    for name in names:
        require(name in known, OWNER, "blocks", name, f"names of the model's layers: {', '.join(known)}")
        expected = "layers of a chain, whose output is all that the following ones get; this lies on a branch"
        require(name in places, OWNER, "blocks", name, expected)
        after = not ends or places[name] > ends[-1]
        require(after, OWNER, "blocks", names, "names in the order of the layers")
        ends.append(places[name])
    rest = (layer for link in links[ends[-1] + 1 :] for layer in link.layers)
    left = any(layer.trainable_weights for layer in rest)
    require(left, OWNER, "blocks", names, "blocks that leave the model a head with weights after the last")
    return ends


def _block(links, names):
    kernels = (link.kernel for link in links)
    first = next((layer for layer in kernels if layer is not None), None)
    name = links[-1].name if names is not None or first is None else first.name
    return Block(name, links[-1].end, [layer for link in links for layer in link.layers])
