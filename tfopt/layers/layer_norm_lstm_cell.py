"""LayerNormLSTMCell: an LSTM whose gates and cell are layer-normalised."""

import keras

from tfopt._check import require_not_negative
from tfopt.layers._gates import dropout_masks, gate_inputs
from tfopt.layers.layer_normalization import LayerNormalization


@keras.saving.register_keras_serializable(package="tfopt")
class LayerNormLSTMCell(keras.layers.LSTMCell):
    """An LSTM cell with layer normalisation, for `keras.layers.RNN`.

    With LN(a) = γ ⊙ (a − μ)/√(σ² + ε), of statistics over all 4 `units` values for the gates and over the
    `units` values of the cell, which has a β too::

        (i, f, g, o) = LN(W x_t) + LN(U h_{t−1}) + b
        c_t = sigmoid(f) ⊙ c_{t−1} + sigmoid(i) ⊙ tanh(g)
        h_t = sigmoid(o) ⊙ tanh(LN(c_t))

    The state is (h, c), c not normalised, as in the paper. Each step of each sample is normalised by itself,
    so neither the length of a sequence nor the batch matters. One bias b stands for the three that the paper
    adds up.

    Weights are those of `keras.layers.LSTMCell` followed by the norms'; activations, dropout of inputs and
    state, initializers, regularizers and constraints are Keras' own.

    Args:
        units: Length of h and of c, at least 1.
        epsilon: ε >= 0.
        gamma_initializer: Initializer of all γ.
        **options: All other arguments of `keras.layers.LSTMCell`.

    Raises:
        ValueError: If an argument lies outside its range.

    Input and output: [batch, features] and two states [batch, units]; output [batch, units].

    Example:
        >>> import keras, numpy as np, tfopt
        >>> rnn = keras.layers.RNN(tfopt.layers.LayerNormLSTMCell(4), return_state=True)
        >>> [tuple(part.shape) for part in rnn(np.ones((2, 5, 3)))]
        [(2, 4), (2, 4), (2, 4)]

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, equations 20 to 22; chapter section 10.2.1.
    """

    def __init__(self, units, epsilon=1e-3, gamma_initializer="ones", **options):
        super().__init__(units, **options)
        require_not_negative("LayerNormLSTMCell", epsilon=epsilon)
        self.epsilon = epsilon
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        norm = dict(epsilon=epsilon, gamma_initializer=gamma_initializer, dtype=self.dtype_policy)
        self.kernel_norm = LayerNormalization(center=False, name="kernel_norm", **norm)
        self.recurrent_norm = LayerNormalization(center=False, name="recurrent_norm", **norm)
        self.state_norm = LayerNormalization(name="state_norm", **norm)

    def build(self, input_shape):
        super().build(input_shape)
        self.kernel_norm.build((None, 4 * self.units))
        self.recurrent_norm.build((None, 4 * self.units))
        self.state_norm.build((None, self.units))

    def call(self, inputs, states, training=False):
        h, c = states
        input_masks, state_masks = dropout_masks(self, inputs, h, training)
        z = self.kernel_norm(gate_inputs(inputs, self.kernel, input_masks))
        z += self.recurrent_norm(gate_inputs(h, self.recurrent_kernel, state_masks))
        if self.use_bias:
            z += self.bias
        i, f, g, o = keras.ops.split(z, 4, axis=-1)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        h = self.recurrent_activation(o) * self.activation(self.state_norm(c))
        return h, [h, c]

    def get_config(self):
        initializer = keras.initializers.serialize(self.gamma_initializer)
        return super().get_config() | {"epsilon": self.epsilon, "gamma_initializer": initializer}
