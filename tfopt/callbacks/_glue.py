"""The only file of the callbacks that touches Keras' private hooks."""

import dataclasses
from typing import Any

import keras
from keras.src.backend import get_keras_mask
from keras.src.models.functional import Functional
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils.io_utils import print_msg

# Prints where Keras' own progress bar does.
say = print_msg


def seed_generators(model):
    """Every seed generator of a model's layers and of the model itself, each once."""
    found: dict = {}
    for layer in model._flatten_layers():
        found |= {id(generator): generator for generator in layer._seed_generators}
    return list(found.values())


def train_steps(optimizer):
    """Train steps so far; `optimizer.iterations` counts the updates of an accumulation."""
    return int(optimizer._iterations.numpy())


def layers_within(layer):
    """The layer and all that it holds, the outer ones first."""
    return list(layer._flatten_layers())


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of an operation in a model's graph.

    Attributes:
        operation: The layer, or the function as an object.
        inputs: Tensors that it takes, without masks, which go along with their tensors by themselves.
        outputs: Tensors that it makes.
        arguments: Keras' record of the call, for `replay`.
    """

    operation: Any
    inputs: list
    outputs: list
    arguments: Any

    def replay(self, operation, tensors):
        """Call `operation` as this call was, on ``tensors[id(input)]`` in place of each input."""
        positional, named = self.arguments.fill_in(tensors)
        return operation(*positional, **named)


@dataclasses.dataclass(frozen=True)
class Graph:
    """A functional model's graph: inputs and outputs as the model takes and gives them, calls in order."""

    inputs: Any
    outputs: Any
    calls: list


def graph_of(model):
    """The graph of a Sequential or functional model; None for any other."""
    functional = model._functional if isinstance(model, keras.Sequential) else model
    if not isinstance(functional, Functional):
        return None
    depths = functional._nodes_by_depth
    nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
    calls = [
        Call(node.operation, _without_masks(node.input_tensors), list(node.outputs), node.arguments)
        for node in nodes
        if not node.is_input
    ]
    return Graph(functional.input, functional.output, _needed(calls, functional.outputs))


def _without_masks(tensors):
    masks = {id(get_keras_mask(tensor)) for tensor in tensors}
    return [tensor for tensor in tensors if id(tensor) not in masks]


def _needed(calls, outputs):
    """The calls that lead to the outputs; others make masks."""
    wanted, kept = {id(tensor) for tensor in outputs}, []
    for call in reversed(calls):
        if any(id(tensor) in wanted for tensor in call.outputs):
            wanted |= {id(tensor) for tensor in call.inputs}
            kept.append(call)
    return kept[::-1]


class Attachment(KerasSaveable):
    """An attribute of a model through which more than the model goes into its weights files and back.

    Args:
        save: Gives a dict of arrays.
        load: Takes such a dict.
    """

    def __init__(self, save, load):
        self._save, self._load = save, load

    def _obj_type(self):
        # Keras walks through all attributes of what it saves, but for those of the kind.
        return "Loss"

    def save_own_variables(self, store):
        """Write the arrays to a part of the file."""
        for name, value in self._save().items():
            store[name] = value

    def load_own_variables(self, store):
        """Hand over the arrays in a part of the file, if there are any."""
        # Keras' stores offer keys(), not iteration.
        arrays = {name: store[name][()] for name in store.keys()}  # noqa: SIM118
        if arrays:
            self._load(arrays)
