"""GateBias: opens one gate of a recurrent cell."""

import keras
import tensorflow as tf

from tfopt._check import is_number, require, require_choice
from tfopt.initializers._glue import layers_being_built

# The order in which Keras lays the gates side by side, and the one that keeps the state.
GATES = {"lstm": ("i", "f", "c", "o"), "gru": ("z", "r", "h")}
KEEPS = {"lstm": "f", "gru": "z"}


@keras.saving.register_keras_serializable(package="tfopt")
class GateBias(keras.initializers.Initializer):
    """Bias of a recurrent cell: a constant at one gate, zero at the others.

    A gate σ(Wx + Uh + b) multiplies what another unit passes on. With b = 0 a forget gate starts at ½ and
    halves the state, and with it the gradient, at every step; with b = 1 it starts at 0.73, with b = 3 at
    0.95. Keras lays the gates of u units side by side::

        LSTM (and ConvLSTM):  i  f  c  o     b of (4u,)
        GRU:                  z  r  h        b of (3u,), or (2, 3u) with reset_after=True

    In Keras' GRU h_t = z h_{t−1} + (1 − z) h̃, so the gate that keeps the state is z. Of the two rows of
    (2, 3u), which are added to each other, the first gets the value.

    Keras' LSTM fills the forget gate itself, with 1, unless `unit_forget_bias=False`: pass that too.

    Args:
        value: b, any finite number; positive opens the gate.
        gate: "i", "f", "c", "o" of an LSTM or "z", "r", "h" of a GRU; None for the one that keeps the state,
            f or z.
        cell: "lstm" or "gru"; None to take it from the layer that is being built, which Keras names except
            where it initializes late: in a symbolic first call of a model that builds its layers there.

    Raises:
        ValueError: If an argument is none of these; when called, if the shape is no bias of such a cell, the
            cell is not known, or the layer has `unit_forget_bias=True`.

    Example:
        >>> import keras, tfopt
        >>> cell = keras.layers.LSTMCell(
        ...     2, bias_initializer=tfopt.initializers.GateBias(1.0), unit_forget_bias=False)
        >>> cell.build((None, 3))
        >>> print(cell.bias.numpy())
        [0. 0. 1. 1. 0. 0. 0. 0.]

    Source: Jozefowicz, Zaremba and Sutskever, An Empirical Exploration of Recurrent Network Architectures,
    2015, section 2.2; Gers, Schmidhuber and Cummins, Learning to Forget, 2000; chapter section 9.2.
    """

    def __init__(self, value=1.0, gate=None, cell=None):
        require(is_number(value), "GateBias", "value", value, "a finite number")
        if cell is not None:
            require_choice("GateBias", tuple(GATES), cell=cell)
        if gate is not None:
            require_choice("GateBias", GATES[cell] if cell else sum(GATES.values(), ()), gate=gate)
        self.value = value
        self.gate = gate
        self.cell = cell

    def __call__(self, shape, dtype=None):
        cell = self._cell_of((layers_being_built() or [None])[-1])
        gates = GATES[cell]
        gate = self.gate or KEEPS[cell]
        require(gate in gates, "GateBias", "gate", gate, f"a gate of the {cell.upper()}, {', '.join(gates)}")
        shape = tuple(shape)
        rows_fit = len(shape) == 1 or (cell == "gru" and len(shape) == 2 and shape[0] == 2)
        expected = f"a bias of the {cell.upper()}, {len(gates)} gates of the same number of units"
        require(rows_fit and shape[-1] % len(gates) == 0, "GateBias", "shape", shape, expected)
        units = shape[-1] // len(gates)
        opened = tf.one_hot(gates.index(gate), len(gates), dtype=keras.backend.standardize_dtype(dtype))
        row = tf.repeat(opened * self.value, units)
        return row if len(shape) == 1 else tf.stack([row, tf.zeros_like(row)])

    def _cell_of(self, layer):
        """Which cell the bias is for."""
        if getattr(layer, "unit_forget_bias", False):
            raise ValueError(
                f"GateBias: {type(layer).__name__} {layer.name!r} fills the forget gate itself. Pass it "
                "unit_forget_bias=False."
            )
        found = self.cell
        if found is None and hasattr(layer, "unit_forget_bias"):
            found = "lstm"
        if found is None and hasattr(layer, "reset_after"):
            found = "gru"
        require(found, "GateBias", "cell", self.cell, "'lstm' or 'gru', as no cell is being built here")
        return found

    def get_config(self):
        return {"value": self.value, "gate": self.gate, "cell": self.cell}
