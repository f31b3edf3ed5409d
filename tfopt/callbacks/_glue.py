"""The only file of the callbacks that touches Keras' private hooks."""

import dataclasses
import io
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask
from keras.src.models.functional import Functional
from keras.src.saving import saving_lib
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


def weights_file(model):
    """The bytes of what `save_weights` writes.

    Writing it to a full disk, HDF5 ends the process with a segmentation fault.
    """
    file = io.BytesIO()
    store = saving_lib.H5IOStore(file, mode="w")
    saving_lib._save_state(model, store, assets_store=None, inner_path="", visited_saveables=set())
    store.close()
    return file.getvalue()


def begin_with(model, epoch):
    """Let the `fit` that is beginning begin with this epoch, counted from 0."""
    model._initial_epoch = epoch


class DataWatch:
    """Follows how far a `fit` has come with its data, and first brings it to where another one had come.

    Args:
        model: The model that is trained.
        place: What `place` gave there.
        built: Called when batches were passed over and the model's metrics have their variables.
    """

    def __init__(self, model, place, built):
        self._model = model
        self._built = built
        self._train = model.train_function
        self._start = place
        self._left = place["batch"]
        self._iterators = place["iterators"]
        self._position = place["position"]
        self._given: Any = None
        self._used: Any = None
        if self._train is not None:
            model.train_function = self

    def __call__(self, iterator):
        """What `fit` calls in place of the train function: train on a batch, or pass it over."""
        if self._given is None:
            self._used = self._first(iterator)
        elif iterator is not self._given:
            self._iterators, self._position, self._used = self._iterators + 1, 0, iterator
        self._given = iterator
        steps = self._model.steps_per_execution
        if self._left > 0:
            return self._passed_over(steps)
        self._position += steps
        return self._train(self._used)

    def _passed_over(self, steps):
        """Pass over what was trained on before; returns the metrics of then."""
        self._left -= steps
        for _ in range(steps):
            batch = next(self._used)
            if self._built:
                # Keras makes some metrics' variables only when the train step is traced.
                self._model._symbolic_build(data_batch=batch)
                self._built()
                self._built = None
        return self._model.get_metrics_result()

    def _first(self, iterator):
        """The iterator to go on with, at the epoch's first batch."""
        start, used = self._start, iterator
        if hasattr(iterator, "_dataset"):
            # A pipeline that reshuffles counts the iterators made of it. Keras makes one for each epoch, and
            # at the end of a dataset of known size one in vain.
            each_epoch = start["position"] == start["batch"] and start["iterators"] == start["epoch"]
            twice = each_epoch and iterator._dataset.cardinality() >= 0
            for _ in range(start["iterators"] * (2 if twice else 1)):
                used = iter(iterator._dataset)
        _pass_over(used, start["position"] - start["batch"])
        return used

    def place(self, epoch, batch):
        """Where the run stands after `batch` batches of an epoch.

        Returns:
            Dict with "epoch" and "batch", the number of "iterators" begun before the one that comes next, and
            the "position" in that one.
        """
        place = {"epoch": epoch, "batch": batch, "iterators": self._iterators, "position": self._position}
        if batch == 0 and self._ended():
            place |= {"iterators": self._iterators + 1, "position": 0}
        return place

    def _ended(self):
        """Whether the next epoch begins with an iterator of its own."""
        if self._used is None:
            return True
        dataset = getattr(self._used, "_dataset", None) or self._used._iterators[0]._dataset
        size = int(dataset.cardinality())
        return size == tf.data.UNKNOWN_CARDINALITY or 0 <= size <= self._position

    def stop(self):
        """Let `fit` have its own train function again."""
        if self._model.train_function is self:
            self._model.train_function = self._train


def _pass_over(iterator, batches):
    for _ in range(batches):
        next(iterator)
