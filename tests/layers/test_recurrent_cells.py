"""LayerNormLSTMCell and LayerNormGRUCell: one step in NumPy, whole sequences, dropout, saving, learning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt import layers

CELLS = {"lstm": layers.LayerNormLSTMCell, "gru": layers.LayerNormGRUCell}
cells = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def norm(a, gamma, beta=0.0):
    return gamma * (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-3) + beta


def lstm_step(x, h, c, weights):
    """Ba, Kiros and Hinton, equations 20 to 22, with one bias."""
    kernel, recurrent, bias, gamma_x, gamma_h, gamma_c, beta_c = weights
    z = norm(x @ kernel, gamma_x) + norm(h @ recurrent, gamma_h) + bias
    i, f, g, o = np.split(z, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(norm(c, gamma_c, beta_c)), c


def gru_step(x, h, weights):
    """The paper's supplement, with Keras' z and two biases."""
    kernel, recurrent, bias, gamma_x, gamma_xc, gamma_h, gamma_hc = weights
    n = h.shape[-1]
    gates = lambda a: a[..., : 2 * n]  # noqa: E731
    rest = lambda a: a[..., 2 * n :]  # noqa: E731
    from_x, from_h = x @ kernel, h @ recurrent
    both = norm(gates(from_x), gamma_x) + norm(gates(from_h), gamma_h) + gates(bias[0]) + gates(bias[1])
    z, r = np.split(sigmoid(both), 2, -1)
    candidate = norm(rest(from_x), gamma_xc) + rest(bias[0])
    candidate = np.tanh(candidate + r * (norm(rest(from_h), gamma_hc) + rest(bias[1])))
    return (z * h + (1 - z) * candidate,)


@pytest.fixture
def sequence():
    return np.random.default_rng(0).normal(size=(2, 5, 3))


def with_random_weights(rnn, x):
    rnn.build(x.shape)
    rng = np.random.default_rng(1)
    rnn.set_weights([rng.normal(0.0, 0.8, w.shape) for w in rnn.get_weights()])
    return rnn


@pytest.mark.parametrize(
    ("name", "step", "states"), [("lstm", lstm_step, 2), ("gru", gru_step, 1)], ids=["lstm", "gru"]
)
@pytest.mark.parametrize("unroll", [False, True])
def test_sequences_equal_numpy(name, step, states, unroll, sequence):
    cell = CELLS[name](4, dtype="float64")
    rnn = keras.layers.RNN(cell, return_sequences=True, return_state=True, unroll=unroll, dtype="float64")
    with_random_weights(rnn, sequence)
    outputs, *final = rnn(sequence)
    weights = [w.numpy() for w in cell.trainable_variables]
    expected = [np.zeros((2, 4))] * states
    for t in range(5):
        expected = step(sequence[:, t], *expected, weights)
        np.testing.assert_allclose(outputs[:, t], expected[0], rtol=1e-12)
    for found, state in zip(final, expected, strict=True):
        np.testing.assert_allclose(found, state, rtol=1e-12)


@cells
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_float32_by_kernels_equals_float64(make, jit_compile, sequence, loaded):
    """Sequences and their gradients; float64 is left to TensorFlow."""

    def train(dtype):
        rnn = keras.layers.RNN(make(4, dtype=dtype), return_sequences=True, dtype=dtype)
        with_random_weights(rnn, sequence)

        @tf.function(jit_compile=jit_compile)
        def gradients(x):
            with tf.GradientTape() as tape:
                y = rnn(x, training=True)
                loss = tf.reduce_sum(y**2)
            return [y, *tape.gradient(loss, rnn.trainable_variables)]

        return gradients(tf.constant(sequence, dtype))

    for found, expected in zip(train("float32"), train("float64"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CELLS)
def test_the_weights_start_as_keras_start_theirs(name):
    """Kernels, forget bias; γ as asked for."""
    theirs = {"lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}[name](4)
    ours = CELLS[name](4, gamma_initializer=keras.initializers.Constant(0.1))
    for cell in (ours, theirs):
        cell.build((None, 3))
    for own, keras_own in zip(ours.weights[:3], theirs.weights[:3], strict=True):
        assert (own.name, own.shape) == (keras_own.name, keras_own.shape)
    np.testing.assert_array_equal(ours.bias.numpy(), theirs.bias.numpy())
    gammas = [w.numpy() for w in ours.weights if w.name == "gamma"]
    assert len(gammas) == {"lstm": 3, "gru": 4}[name]
    assert all(np.all(gamma == np.float32(0.1)) for gamma in gammas)


@cells
@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"dropout": 1.0}])
def test_dropout_is_for_training_and_of_one_mask_per_sequence(make, options, sequence):
    cell = make(4, seed=3, **options)
    rnn = keras.layers.RNN(cell)
    plain = with_random_weights(keras.layers.RNN(make(4)), sequence)
    with_random_weights(rnn, sequence)
    np.testing.assert_allclose(rnn(sequence), plain(sequence), rtol=1e-6)
    if options.get("dropout") == 1.0:  # as in Keras, no dropout at all
        np.testing.assert_allclose(rnn(sequence, training=True), plain(sequence), rtol=1e-6, atol=1e-6)
        return
    first, second = rnn(sequence, training=True).numpy(), rnn(sequence, training=True).numpy()
    assert np.abs(first - plain(sequence)).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


@cells
def test_dropout_masks_are_kerass(make):
    """With a mask per gate, each gate's own product is dropped, at the rate and scale of Keras' masks."""
    cell = make(4, dropout=0.5, recurrent_dropout=0.5, use_bias=False, seed=1)
    cell.build((None, 3))
    x, h = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
    masks = [np.stack(cell.get_dropout_mask(x)), np.stack(cell.get_recurrent_dropout_mask(h))]
    gates = len(masks[0])
    assert set(np.unique(masks[0])) | set(np.unique(masks[1])) == {0.0, 2.0}
    seen = []
    cell.kernel_norm.call = lambda inputs, **_: seen.append(inputs) or inputs
    states = [h, h] if isinstance(cell, keras.layers.LSTMCell) else [h]
    cell(x, states, training=True)
    parts = np.split(cell.kernel.numpy(), gates, 1)
    expected = np.concatenate([(x * m) @ k for m, k in zip(masks[0], parts, strict=True)], -1)
    np.testing.assert_allclose(seen[0], expected[:, : seen[0].shape[1]], rtol=1e-5)


@cells
def test_saved_models_answer_the_same(make, sequence, saved_and_loaded, tmp_path):
    cell = make(4, epsilon=0.1, activation="relu", use_bias=False, gamma_initializer="zeros", dropout=0.2)
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.RNN(cell)])
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.get_weights()])
    again = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(model(sequence), again(sequence))
    config = again.layers[-1].cell.get_config()
    assert config == cell.get_config()
    assert (config["epsilon"], config["dropout"], config["use_bias"]) == (0.1, 0.2, False)


@cells
def test_masks_lengths_and_batches_do_not_matter(make, sequence):
    """A padded sequence ends as the sequence alone, whatever stands beside it."""
    rnn = with_random_weights(keras.layers.RNN(make(4, dtype="float64"), dtype="float64"), sequence)
    mask = np.array([[True] * 3 + [False] * 2, [True] * 5])
    padded = rnn(sequence, mask=mask)
    np.testing.assert_allclose(padded[0], rnn(sequence[:1, :3])[0], rtol=1e-12)
    np.testing.assert_allclose(padded[1], rnn(sequence[1:])[0], rtol=1e-12)


@cells
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_policies(make, policy, sequence):
    rnn = keras.layers.RNN(make(4, dtype=policy), dtype=policy)
    y = rnn(sequence)
    assert y.dtype == rnn.compute_dtype
    assert rnn.cell.kernel_norm.gamma.dtype == rnn.cell.kernel.dtype == rnn.variable_dtype
    assert np.all(np.isfinite(tf.cast(y, tf.float32)))


@cells
def test_stacked_and_bidirectional(make, sequence):
    stacked = keras.layers.RNN([make(4), make(2)], return_sequences=True)
    assert keras.layers.Bidirectional(stacked)(sequence).shape == (2, 5, 4)


def test_refusals():
    for make, options, message in (
        (layers.LayerNormLSTMCell, {"epsilon": -1}, "epsilon=-1"),
        (layers.LayerNormGRUCell, {"reset_after": False}, "reset_after=False"),
    ):
        with pytest.raises(ValueError) as caught:
            make(4, **options)
        assert message in str(caught.value)


# -- Learning --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """8 × 8 digits, row by row: 1,400 to train, 397 to test."""
    sklearn = pytest.importorskip("sklearn.datasets")
    x, y = sklearn.load_digits(return_X_y=True)
    x = (x / 16.0).astype(np.float32).reshape(-1, 8, 8)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order[:1400]], y[order[:1400]]), (x[order[1400:]], y[order[1400:]])


def classifier(rnn):
    return keras.Sequential([keras.Input((8, 8)), rnn, keras.layers.Dense(10)])


def accuracy_of(model, digits, batch_size, epochs):
    train, test = digits
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"], jit_compile=False)
    model.fit(*train, batch_size=batch_size, epochs=epochs, verbose=0)
    return model.evaluate(*test, batch_size=397, verbose=0)[1]


@pytest.mark.parametrize(
    "make", [CELLS["lstm"], pytest.param(CELLS["gru"], marks=pytest.mark.slow)], ids=CELLS
)
def test_digits_are_learnt_row_by_row(make, digits):
    keras.utils.set_random_seed(0)
    assert accuracy_of(classifier(keras.layers.RNN(make(24))), digits, batch_size=50, epochs=6) > 0.9


class BatchNormCell(keras.layers.SimpleRNNCell):
    """A recurrent cell with batch normalisation in the place of layer normalisation."""

    def build(self, input_shape):
        super().build(input_shape)
        self.norm = self.make_norm()
        self.norm.build((None, self.units))

    def call(self, inputs, states, training=False):
        z = keras.ops.matmul(inputs, self.kernel) + keras.ops.matmul(states[0], self.recurrent_kernel)
        normal = self.norm(z, training=training) if self.norm_trains else self.norm(z)
        h = keras.ops.tanh(normal)
        return h, [h]


class OneStatisticForAllSteps(BatchNormCell):
    """The cell with batch normalisation."""

    make_norm = layers.BatchNormalization
    norm_trains = True


class OneStatisticForEachStep(BatchNormCell):
    """The cell with layer normalisation."""

    make_norm = layers.LayerNormalization
    norm_trains = False


@pytest.mark.slow
def test_batch_normalisation_in_its_place_does_not_generalise_over_steps(digits):
    """10.1.5: every step has statistics of its own, which running ones, one for all steps, do not meet."""
    accuracy = {}
    for make in (OneStatisticForAllSteps, OneStatisticForEachStep):
        keras.utils.set_random_seed(0)
        accuracy[make] = accuracy_of(classifier(keras.layers.RNN(make(24))), digits, batch_size=4, epochs=2)
    assert accuracy[OneStatisticForEachStep] > accuracy[OneStatisticForAllSteps] + 0.05
