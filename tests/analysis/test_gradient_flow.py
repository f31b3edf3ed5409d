"""The gradient through depth and time, where its size is known; names; that a model is left as it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.analysis import gradient_flow, recurrent_spectral_radius

RNG = np.random.default_rng(0)


def orthogonal(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def chain(factor, depth=6):
    """Linear layers, each an orthogonal matrix times a factor."""
    layers = [keras.layers.Dense(4, use_bias=False, dtype="float64", name=f"l{i}") for i in range(depth)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.set_weights([factor * orthogonal(4, i) for i in range(depth)])
    model.compile(loss="mse")
    return model


@pytest.mark.parametrize(("factor", "trend"), [(0.1, "VANISHING"), (1.0, "STEADY"), (8.0, "EXPLODING")])
@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"jit_compile": True}], ids=str)
def test_through_depth(factor, trend, options):
    x, y = RNG.normal(size=(10, 4)), RNG.normal(size=(10, 4))
    flow = gradient_flow(chain(factor), x, y, **options)
    signals = np.array([row.signal for row in flow.layers])
    np.testing.assert_allclose(signals[:-1] / signals[1:], factor, rtol=1e-9)
    assert flow.depth.rate == pytest.approx(factor, rel=1e-9)
    assert flow.depth.factor == pytest.approx(factor**5, rel=1e-8)
    assert flow.depth.trend.name == trend
    assert [finding.name.split()[0] for finding in flow.findings] == (
        [trend.lower()] if trend != "STEADY" else []
    )


def test_norms_are_those_of_a_tape(gradient_of):
    x, y = RNG.normal(size=(10, 4)), RNG.normal(size=(10, 4))
    model = chain(0.7, depth=3)
    flow = gradient_flow(model, x, y)
    with tf.GradientTape() as tape:
        hidden = [tf.constant(x)]
        for layer in model.layers:
            hidden.append(layer(hidden[-1]))
            tape.watch(hidden[-1])
        loss = tf.reduce_mean((hidden[-1] - y) ** 2)
    signals = [np.linalg.norm(part) for part in tape.gradient(loss, hidden[1:])]
    np.testing.assert_allclose([row.signal for row in flow.layers], signals, rtol=1e-10)
    parts = np.split(gradient_of(model, x, y), 3)
    np.testing.assert_allclose(
        [row.gradient for row in flow.layers], np.linalg.norm(parts, axis=1), rtol=1e-6
    )
    np.testing.assert_allclose([row.weights for row in flow.layers], 0.7 * 2.0, rtol=1e-12)


def test_a_deep_sigmoid_network_vanishes_and_a_residual_one_does_not():
    x, y = RNG.normal(size=(16, 4)), RNG.normal(size=(16, 1))
    keras.utils.set_random_seed(0)
    deep = [keras.layers.Dense(8, "sigmoid") for _ in range(10)]
    model = keras.Sequential([keras.Input((4,)), *deep, keras.layers.Dense(1)])
    model.compile(loss="mse")
    assert gradient_flow(model, x, y).depth.trend.name == "VANISHING"
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8)(inputs)
    for _ in range(10):
        hidden = keras.layers.Add()([hidden, keras.layers.Dense(8, "sigmoid")(hidden)])
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(loss="mse")
    assert gradient_flow(model, x, y).depth.trend.name == "STEADY"


def recurrent(factor, layer=keras.layers.SimpleRNN, steps=12, **options):
    made = layer(4, activation="linear", dtype="float64", name="rnn", **options)
    model = keras.Sequential([keras.Input((steps, 3)), made, keras.layers.Dense(1, dtype="float64")])
    kernel = factor * orthogonal(4)
    made.cell.recurrent_kernel.assign(kernel)
    model.compile(loss="mse")
    return model, kernel


SEQUENCES, TARGETS = RNG.normal(size=(9, 12, 3)), RNG.normal(size=(9, 1))


@pytest.mark.parametrize(
    ("factor", "trend", "options"),
    [
        (0.4, "VANISHING", {}),
        (1.0, "STEADY", {}),
        (2.5, "EXPLODING", {}),
        pytest.param(0.4, "VANISHING", {"unroll": True}, marks=pytest.mark.slow),
        pytest.param(2.5, "EXPLODING", {"go_backwards": True}, marks=pytest.mark.slow),
    ],
)
def test_through_time(factor, trend, options):
    model, _ = recurrent(factor, **options)
    flow = gradient_flow(model, SEQUENCES, TARGETS, batch_size=4)
    times = flow.times["rnn"]
    np.testing.assert_allclose(times[:-1] / times[1:], factor, rtol=1e-9)
    assert flow.time["rnn"].rate == pytest.approx(factor, rel=1e-8)
    assert flow.time["rnn"].trend.name == trend
    (found,) = recurrent_spectral_radius(model)
    assert found.radius == pytest.approx(factor, rel=1e-6)
    assert found.norm == pytest.approx(factor, rel=1e-6)
    assert found.trend.name == trend
    names = [finding.name for finding in (*flow.findings, *found.findings)]
    assert len(names) == (0 if trend == "STEADY" else 2)


def by_hand(cell, x, y, head):
    """∂J/∂s_t of every step by a tape around a loop over the cell."""
    sizes = cell.state_size if isinstance(cell.state_size, (list, tuple)) else [cell.state_size]
    with tf.GradientTape() as tape:
        additions = [[tf.zeros((len(x), n), tf.float64) for n in sizes] for _ in range(x.shape[1])]
        tape.watch(additions)
        states = [tf.zeros((len(x), n), tf.float64) for n in sizes]
        for t, extra in enumerate(additions):
            _, states = cell(tf.constant(x[:, t]), states)
            states = [s + e for s, e in zip(states, extra, strict=True)]
        loss = tf.reduce_mean((head(states[0]) - y) ** 2)
    found = tape.gradient(loss, additions, unconnected_gradients="zero")
    return [np.sqrt(sum(np.sum(part**2) for part in row)) for row in found]


@pytest.mark.parametrize("layer", [keras.layers.LSTM, keras.layers.GRU])
def test_states_of_gated_layers(layer):
    made = layer(4, dtype="float64", name="rnn")
    model = keras.Sequential([keras.Input((12, 3)), made, keras.layers.Dense(1, dtype="float64")])
    model.compile(loss="mse")
    flow = gradient_flow(model, SEQUENCES, TARGETS)
    wanted = by_hand(made.cell, SEQUENCES, TARGETS, model.layers[-1])
    np.testing.assert_allclose(flow.times["rnn"], wanted, rtol=1e-9)


@pytest.mark.slow
def test_wrapped_and_custom_cells():
    layers = [
        keras.layers.Embedding(5, 3),
        keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True, name="inner")),
        keras.layers.RNN(tfopt.layers.LayerNormLSTMCell(3), name="normed"),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    model.compile(loss="mse")
    flow = gradient_flow(model, RNG.integers(0, 5, size=(8, 6)), RNG.normal(size=(8, 1)))
    assert sorted(flow.times) == ["backward_inner", "forward_inner", "normed"]
    assert all(len(times) == 6 and (times > 0).all() for times in flow.times.values())
    assert len(flow.layers) == 4


def test_states_that_are_images_are_left_out():
    layers = [keras.layers.ConvLSTM2D(2, 3, name="images"), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3, 5, 5, 1)), *layers])
    model.compile(loss="mse")
    flow = gradient_flow(model, RNG.normal(size=(4, 3, 5, 5, 1)), RNG.normal(size=(4, 1)))
    assert flow.times == {}
    assert len(flow.layers) == 2
    with pytest.raises(ValueError, match="expected a built recurrent layer"):
        recurrent_spectral_radius(model)


def test_masked_steps_are_left_out():
    """Zeros in front, which the mask skips, are no vanished gradient."""
    model, _ = recurrent(0.8)
    layers = [keras.layers.Masking(), *model.layers]
    masked = keras.Sequential([keras.Input((12, 3)), *layers])
    masked.compile(loss="mse")
    x = SEQUENCES.copy()
    x[:, :5] = 0.0
    flow = gradient_flow(masked, x, TARGETS)
    assert (flow.times["rnn"][:5] == 0).all()
    assert flow.time["rnn"].rate == pytest.approx(0.8, rel=1e-6)
    assert flow.time["rnn"].trend.name == "STEADY"


def test_a_model_of_a_subclass_with_a_model_inside():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = keras.Sequential([keras.layers.Dense(4, name="a"), keras.layers.Dense(4, name="b")])
            self.head = keras.layers.Dense(1, name="c")

        def call(self, x):
            return self.head(self.block(self.block(x)))

    model = Net()
    model.compile(loss="mse")
    x = RNG.normal(size=(8, 4))
    model(x)
    flow = gradient_flow(model, x, x[:, :1])
    assert [row.name for row in flow.layers] == ["a", "b", "c"]
    assert all(row.signal > 0 for row in flow.layers)


def test_dead_layers_have_no_gradient_at_all():
    model = chain(1.0, depth=3)
    model.layers[2].set_weights([np.zeros((4, 4))])
    flow = gradient_flow(model, RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4)))
    assert [row.signal > 0 for row in flow.layers] == [False, False, True]
    assert flow.depth.trend.name == "VANISHING"


def test_the_model_is_left_as_it_was():
    layers = [
        keras.layers.GRU(4, dropout=0.2, recurrent_dropout=0.2, name="rnn"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([keras.Input((12, 3)), *layers])
    model.compile(loss="mse")
    outputs = model.predict(SEQUENCES, verbose=0)
    before = [np.array(v.numpy()) for v in model.variables]
    gradient_flow(model, SEQUENCES, TARGETS, training=True)
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)
    np.testing.assert_array_equal(model.predict(SEQUENCES, verbose=0), outputs)
    rnn = model.layers[0]
    assert not [
        name for one in (*model.layers, rnn.cell) for name in ("call", "inner_loop") if name in vars(one)
    ]
    assert rnn.use_cudnn == "auto"


@pytest.mark.parametrize("bound", [1.0, 0.5, "3", float("inf")])
def test_bounds_exceed_one(bound):
    with pytest.raises(ValueError, match="bound > 1"):
        gradient_flow(chain(1.0), SEQUENCES[:, 0], SEQUENCES[:, 0], bound=bound)


# -- recurrent_spectral_radius --------------------------------------------------------------------------


def test_of_a_simple_cell_with_biases():
    layer = keras.layers.SimpleRNN(4, dtype="float64", bias_initializer="normal")
    layer.build((None, None, 3))
    slopes = 1 - np.tanh(layer.cell.bias.numpy()) ** 2
    jacobian = np.diag(slopes) @ layer.cell.recurrent_kernel.numpy().T
    (found,) = recurrent_spectral_radius(layer)
    wanted = np.linalg.eigvals(jacobian)
    np.testing.assert_allclose(np.sort(np.abs(found.eigenvalues)), np.sort(np.abs(wanted)), rtol=1e-9)
    assert found.norm == pytest.approx(np.linalg.norm(jacobian, 2), rel=1e-9)


def test_of_an_lstm():
    """At rest c' = σ(b_f)c + σ(b_i)σ-candidates of U_c h, and so on: by finite differences."""
    layer = keras.layers.LSTM(3, dtype="float64")
    layer.build((None, None, 2))
    cell, zero = layer.cell, np.zeros((1, 2))

    def step(state):
        _, (h, c) = cell(tf.constant(zero), [tf.constant(state[None, :3]), tf.constant(state[None, 3:])])
        return np.concatenate([h[0], c[0]])

    jacobian = np.stack([(step(1e-6 * e) - step(-1e-6 * e)) / 2e-6 for e in np.eye(6)], axis=1)
    (found,) = recurrent_spectral_radius(layer)
    assert found.radius == pytest.approx(np.abs(np.linalg.eigvals(jacobian)).max(), rel=1e-7)
    assert found.norm == pytest.approx(np.linalg.norm(jacobian, 2), rel=1e-7)
    assert found.horizon == pytest.approx(np.log(10) / -np.log(found.radius), rel=1e-9)


def test_what_has_no_recurrence():
    for target in (chain(1.0), keras.layers.LSTM(3), "lstm"):
        with pytest.raises(ValueError, match="expected a built recurrent layer"):
            recurrent_spectral_radius(target)
    with pytest.raises(ValueError, match="0 <= tolerance < 1"):
        recurrent_spectral_radius(recurrent(1.0)[0], tolerance=1.0)
