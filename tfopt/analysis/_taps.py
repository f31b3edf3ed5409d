"""Reads the tensors a model makes on its way: outputs of its layers, states of its recurrent layers.

Both while a call of the model is traced, by standing in for a method of single layers, which is put back.
"""

import contextlib

import keras
import tensorflow as tf

from tfopt.repair._glue import layers_within


class Taps:
    """The outputs of some layers, and additions of 0 to the states of recurrent ones, of one call.

    The gradient with respect to what is added to a state is the gradient with respect to that state, through
    all that comes of it later. It enters beside the layer's input, so a loop over time stays a loop.

    Attributes:
        outputs: (layer, output) in the order of the calls; a layer that is called twice appears twice.
        states: (recurrent layer, what is added at each time step, of shape (batch, time, sizes of states),
            1 for each time step that any sample has and 0 for padding).
    """

    def __init__(self, tape):
        self.tape, self.graph = tape, tf.compat.v1.get_default_graph()
        self.outputs: list = []
        self.states: list = []

    @contextlib.contextmanager
    def on(self, layers, recurrent):
        """Listen to these layers."""
        with contextlib.ExitStack() as stack:
            for layer in layers:
                stack.enter_context(_stand_in(layer, "call", self._listening(layer, layer.call)))
            for layer in recurrent:
                loop = self._adding(layer, layer.inner_loop)
                stack.enter_context(_stand_in(layer, "inner_loop", loop))
            yield self

    def _listening(self, layer, call):
        def listening(*arguments, **named):
            result = call(*arguments, **named)
            for output in tf.nest.flatten(result):
                # The tensors of a loop's body are not those of the graph around it.
                if output.dtype.is_floating and (tf.executing_eagerly() or output.graph is self.graph):
                    self.outputs.append((layer, output))
            return result

        return listening

    def _adding(self, layer, loop):
        def adding(sequences, *arguments, **named):
            sizes = state_sizes(layer.cell)
            addition = tf.zeros([*tf.unstack(tf.shape(sequences)[:2]), sum(sizes)], sequences.dtype)
            self.tape.watch(addition)
            self.states.append((layer, addition, _present(addition, named.get("mask"))))
            cell, width = layer.cell, sequences.shape[-1]
            call = _adding_to_states(cell.call, width, sizes)
            with _stand_in(cell, "call", call), _stand_in(layer, "use_cudnn", False):
                return loop(tf.concat([sequences, addition], axis=-1), *arguments, **named)

        return adding


def _present(addition, mask):
    """1 for each time step that is not masked in every sample."""
    if mask is None:
        return tf.ones([tf.shape(addition)[1]], tf.float64)
    return tf.cast(tf.reduce_any(tf.cast(tf.nest.flatten(mask)[0], tf.bool), axis=0), tf.float64)


def _adding_to_states(call, width, sizes):
    """A cell's call that takes, behind its `width` inputs, what is to be added to the states it returns."""

    def adding(inputs, states, *arguments, **named):
        output, new = call(inputs[..., :width], states, *arguments, **named)
        listed = list(new) if isinstance(new, (list, tuple)) else [new]
        moved = [s + a for s, a in zip(listed, tf.split(inputs[..., width:], sizes, axis=-1), strict=True)]
        same = [index for index, state in enumerate(listed) if state is output]
        return (moved[same[0]] if same else output), (moved if isinstance(new, (list, tuple)) else moved[0])

    return adding


@contextlib.contextmanager
def _stand_in(layer, name, value):
    """Let an attribute of this one layer be another one; Keras' tracking of attributes does not see it."""
    own = vars(layer)
    before = own.get(name, _stand_in)
    own[name] = value
    try:
        yield
    finally:
        if before is _stand_in:
            del own[name]
        else:
            own[name] = before


def state_sizes(cell):
    """The sizes of a cell's states; [] for cells whose states are nested or are no vectors."""
    sizes = cell.state_size
    sizes = [sizes] if isinstance(sizes, int) else list(sizes)
    # Keras says -1 where the states are images, as those of ConvLSTM2D.
    return sizes if all(isinstance(size, int) and size > 0 for size in sizes) else []


def recurrent_layers(model):
    """The recurrent layers of a model, wrapped ones too, whose states are vectors."""
    found = (layer for layer in layers_within(model) if isinstance(layer, keras.layers.RNN))
    return [layer for layer in found if state_sizes(layer.cell)]


def weighted_layers(model):
    """The layers with trainable weights, those of models inside it one by one; no two overlap."""
    found: list = []
    for layer in model.layers:
        parts = weighted_layers(layer) if isinstance(layer, keras.Model) else [layer]
        found += [part for part in parts if part.trainable_weights and part not in found]
    return found
