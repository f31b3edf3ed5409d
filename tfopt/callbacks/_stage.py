"""One stage of a greedy pretraining: what it calls, what it trains, and with which optimizer."""

import functools

import keras
import numpy as np

from tfopt._check import require
from tfopt.callbacks._stage_view import Frozen, StageView, attach, detach
from tfopt.repair._glue import layers_within

OWNER = "GreedyPretraining"


def stages_of(model, chain, head, freeze):
    """The stages of a model, the last of which is the model itself.

    Raises:
        ValueError: If a head does not fit.
    """
    make = _copied(chain) if head is None else head
    with model.distribute_strategy.scope():
        heads = [_head_model(chain, block, make, head is None) for block in chain.blocks[:-1]]
    stages = []
    for place, block in enumerate(chain.blocks):
        parts = [keras.Model(chain.inputs, block.end), heads[place]] if place < len(heads) else [model]
        done = [layer for before in chain.blocks[:place] for layer in before.layers] if freeze else []
        stages.append(Stage(model, block.name, parts, done))
    return stages


def _copied(chain):
    """A function that applies a new copy of the model's own head."""

    def head(hidden):
        tensors, copies = {id(chain.blocks[-1].end): hidden}, {}
        for call in chain.head:
            own = call.operation
            if id(own) not in copies:
                copies[id(own)] = type(own).from_config(own.get_config())
            outputs = keras.tree.flatten(call.replay(copies[id(own)], tensors))
            tensors |= {id(old): new for old, new in zip(call.outputs, outputs, strict=True)}
        return keras.tree.map_structure(lambda tensor: tensors[id(tensor)], chain.outputs)

    return head


def _head_model(chain, block, make, copied):
    """A model from the block's output to the outputs."""
    hidden = keras.Input(batch_shape=block.end.shape, dtype=block.end.dtype)
    made = "a copy of the model's head" if copied else "the head"
    expected = (
        f"a function of the output of {block.name!r}, of shape {tuple(block.end.shape)}, to the outputs"
    )
    given = None if copied else make
    try:
        outputs = make(hidden)
    except Exception as error:
        raise ValueError(f"{OWNER}(head={given!r}): expected {expected}; {made} fails: {error}") from error
    got, wanted = _shapes(outputs), _shapes(chain.outputs)
    require(got == wanted, OWNER, "head", given, f"{expected}, of shape {wanted}; {made} gives {got}")
    model = keras.Model(hidden, outputs)
    # Layers within see and pass on masks; without this Keras warns that the model as a whole does not.
    model.supports_masking, model.compute_mask = True, _no_mask
    return model


def _no_mask(inputs, previous_mask=None):
    """Nothing to add to the masks that the layers within have made."""


def _shapes(tensors):
    """Shapes without the batch's axis, in the tensors' structure, as text."""
    if not all(isinstance(tensor, keras.KerasTensor) for tensor in keras.tree.flatten(tensors)):
        return type(tensors).__name__
    return str(keras.tree.map_structure(lambda tensor: f"{tuple(tensor.shape)[1:]}", tensors))


class Stage:
    """A stage; between `enter` and `leave` the model trains, evaluates and predicts as this stage."""

    def __init__(self, model, name, parts, done):
        self.name, self.model = name, model
        self.view = StageView(model, parts)
        self._done = done
        self._own = parts[1:]

    def enter(self):
        """Let the model be this stage, with a new optimizer like its own."""
        model = self.model
        self.frozen = Frozen([within for layer in self._done for within in layers_within(layer)])
        with self.frozen:
            trained = self.view.trainable_weights
        self.mine = model.optimizer
        with model.distribute_strategy.scope():
            self.optimizer = type(self.mine).from_config(self.mine.get_config())
            self.optimizer.build(trained)
        _stand_in(self.optimizer, self.mine, trained)
        model.optimizer = self.optimizer
        attach(model, self.view, self.frozen)

    def leave(self):
        """Let the model be itself again, with the weights that the stage's optimizer stands for."""
        self.optimizer.finalize_variable_values(None)
        self.model.optimizer = self.mine
        detach(self.model)

    def state(self):
        """Head and optimizer as arrays; the blocks are the model's."""
        return {name: np.array(variable.numpy()) for name, variable in self._variables()}

    def restore(self, state):
        """Undo `state`."""
        for name, variable in self._variables():
            variable.assign(state[name])

    def head_state(self):
        """The head's variables by name."""
        own = [variable for part in self._own for variable in part.variables]
        return [(f"head_{place:04d}", variable) for place, variable in enumerate(own)]

    def _variables(self):
        held = [(f"optimizer_{place:04d}", v) for place, v in enumerate(self.optimizer.variables)]
        return held + self.head_state()


def _stand_in(copy, original, trained):
    """Let an optimizer for a part of the weights be saved, loaded and finalized in place of `original`.

    Keras saves `model.optimizer` and loads it into one for all the weights; the state of the stage goes with
    the stage. It also finalizes it at the end of `fit`, with all the weights.
    """
    finalize = functools.cache(functools.partial(copy.finalize_variable_values, trained))
    copy.finalize_variable_values = lambda variables: finalize()
    pairs = [(copy, original)]
    if hasattr(copy, "inner_optimizer"):
        pairs.append((copy.inner_optimizer, original.inner_optimizer))
    for ours, theirs in pairs:
        ours.save_own_variables = theirs.save_own_variables
        ours.load_own_variables = theirs.load_own_variables
