"""LayerNormGRUCell: a GRU whose gates and candidate are layer-normalised."""

import keras

from tfopt._check import require, require_not_negative
from tfopt.layers._gates import dropout_masks, gate_inputs
from tfopt.layers.layer_normalization import LayerNormalization


@keras.saving.register_keras_serializable(package="tfopt")
class LayerNormGRUCell(keras.layers.GRUCell):
    """A GRU cell with layer normalisation, for `keras.layers.RNN`.

    With LN(a) = γ ⊙ (a − μ)/√(σ² + ε), of statistics over both gates' 2 `units` values and over the
    candidate's `units` values, each with a γ of its own::

        (z, r) = sigmoid(LN(W x_t) + LN(U h_{t−1}) + b + b′)
        ĥ = tanh(LN(W_h x_t) + b_h + r ⊙ (LN(U_h h_{t−1}) + b_h′))
        h_t = z ⊙ h_{t−1} + (1 − z) ⊙ ĥ

    z is Keras' z, 1 − z the paper's. The reset gate acts after the product, as in the paper and as Keras does
    with ``reset_after=True``. Each step of each sample is normalised by itself, so neither the length of a
    sequence nor the batch matters.

    Weights are those of `keras.layers.GRUCell` followed by the norms'; activations, dropout of inputs and
    state, initializers, regularizers and constraints are Keras' own.

    Args:
        units: Length of h, at least 1.
        epsilon: ε >= 0.
        gamma_initializer: Initializer of all γ.
        **options: All other arguments of `keras.layers.GRUCell`; of `reset_after` only True.

    Raises:
        ValueError: If an argument lies outside its range.

    Input and output: [batch, features] and a state [batch, units]; output [batch, units].

    Example:
        >>> import keras, numpy as np, tfopt
        >>> rnn = keras.layers.RNN(tfopt.layers.LayerNormGRUCell(4), return_sequences=True)
        >>> tuple(rnn(np.ones((2, 5, 3))).shape)
        (2, 5, 4)

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, supplement; chapter section 10.2.1.
    """

    def __init__(self, units, epsilon=1e-3, gamma_initializer="ones", **options):
        super().__init__(units, **options)
        require_not_negative("LayerNormGRUCell", epsilon=epsilon)
        require(self.reset_after, "LayerNormGRUCell", "reset_after", self.reset_after, "True")
        self.epsilon = epsilon
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.kernel_norm, self.kernel_candidate_norm, self.recurrent_norm, self.recurrent_candidate_norm = (
            LayerNormalization(
                center=False,
                epsilon=epsilon,
                gamma_initializer=gamma_initializer,
                dtype=self.dtype_policy,
                name=name,
            )
            for name in ("kernel_norm", "kernel_candidate_norm", "recurrent_norm", "recurrent_candidate_norm")
        )

    def build(self, input_shape):
        super().build(input_shape)
        for gates, candidate in self._norms():
            gates.build((None, 2 * self.units))
            candidate.build((None, self.units))

    def call(self, inputs, states, training=False):
        nested = isinstance(states, (list, tuple))
        h = states[0] if nested else states
        sources = zip((inputs, h), (self.kernel, self.recurrent_kernel), strict=True)
        masks = dropout_masks(self, inputs, h, training)
        products = [gate_inputs(x, kernel, mask) for (x, kernel), mask in zip(sources, masks, strict=True)]
        (x_gates, x_candidate), (h_gates, h_candidate) = self._normalized(products)
        z, r = keras.ops.split(self.recurrent_activation(x_gates + h_gates), 2, axis=-1)
        h = z * h + (1 - z) * self.activation(x_candidate + r * h_candidate)
        return h, [h] if nested else h

    def get_config(self):
        initializer = keras.initializers.serialize(self.gamma_initializer)
        return super().get_config() | {"epsilon": self.epsilon, "gamma_initializer": initializer}

    def _norms(self):
        return (
            (self.kernel_norm, self.kernel_candidate_norm),
            (self.recurrent_norm, self.recurrent_candidate_norm),
        )

    def _normalized(self, products):
        """(gates, candidate) of the inputs' and the state's product, normalised and with their bias."""
        for index, (product, norms) in enumerate(zip(products, self._norms(), strict=True)):
            parts = [product[:, : 2 * self.units], product[:, 2 * self.units :]]
            parts = [norm(part) for norm, part in zip(norms, parts, strict=True)]
            if self.use_bias:
                parts[0] += self.bias[index, : 2 * self.units]
                parts[1] += self.bias[index, 2 * self.units :]
            yield parts
