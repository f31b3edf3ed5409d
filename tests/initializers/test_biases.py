"""OutputBias, ReLUBias and GateBias: what the model puts out, what the gates do, what is refused."""

import keras
import numpy as np
import pytest

from tfopt.initializers import GateBias, OutputBias, ReLUBias


def made(initializer, shape, dtype=None):
    return keras.ops.convert_to_numpy(initializer(shape, dtype=dtype))


def output(initializer, units, activation):
    """What a layer with small weights puts out."""
    layer = keras.layers.Dense(units, activation, kernel_initializer="zeros", bias_initializer=initializer)
    return layer(np.ones((1, 3))).numpy()[0]


def labels(counts):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


COUNTS = [70, 20, 10]


@pytest.mark.parametrize(
    "given",
    [
        {"y": labels(COUNTS)},
        {"y": labels(COUNTS)[:, None]},
        {"y": labels(COUNTS).reshape(5, 4, 5)},
        {"y": list(labels(COUNTS))},
        {"y": labels(COUNTS).astype("float32"), "activation": "softmax"},
        {"y": np.eye(3)[labels(COUNTS)]},
        {"y": np.eye(3, dtype=bool)[labels(COUNTS)]},
        {"y": 0.9 * np.eye(3)[labels(COUNTS)].reshape(10, 10, 3) + 0.1 * np.array([0.7, 0.2, 0.1])},
        {"counts": COUNTS},
        {"counts": np.array(COUNTS) / 100},
    ],
    ids=["labels", "column", "pixels", "list", "float", "one-hot", "bool", "soft", "counts", "shares"],
)
def test_softmax_starts_at_the_marginals(given):
    initializer = OutputBias(**given)
    assert initializer.activation == "softmax"
    np.testing.assert_allclose(output(initializer, 3, "softmax"), [0.7, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(made(initializer, (3,)), np.log([0.7, 0.2, 0.1]), rtol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        {"y": labels([80, 20])},
        {"y": labels([80, 20])[:, None].astype("float32")},
        {"y": labels([80, 20]).astype(bool)},
        {"y": np.full(7, 0.2), "activation": "sigmoid"},
        {"counts": [80, 20], "activation": "sigmoid"},
        {"counts": [[80, 20]]},
    ],
    ids=["labels", "column", "bool", "soft", "counts", "rows"],
)
def test_sigmoid_starts_at_the_share(given):
    initializer = OutputBias(**given)
    assert initializer.activation == "sigmoid"
    np.testing.assert_allclose(output(initializer, 1, "sigmoid"), [0.2], rtol=1e-6)


def test_sigmoid_of_several_labels():
    y = np.random.default_rng(0).random((500, 3)) < [0.1, 0.5, 0.9]
    initializer = OutputBias(y)
    np.testing.assert_allclose(output(initializer, 3, "sigmoid"), y.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 4)])
def test_regression_starts_at_the_mean(shape):
    y = np.random.default_rng(0).normal(5, 3, size=shape)
    initializer = OutputBias(y)
    assert initializer.activation == "linear"
    means = np.atleast_1d(y.reshape(50, -1).mean(axis=0))
    np.testing.assert_allclose(output(initializer, len(means), None), means, rtol=1e-6)


def test_regression_on_integers_is_said():
    y = np.array([3, 5, 1000])
    np.testing.assert_allclose(made(OutputBias(y, activation="linear"), (1,)), [336], rtol=1e-6)


def test_the_bias_minimizes_the_loss_at_the_start():
    """No other constant output has a lower cross-entropy."""
    y = labels(COUNTS)
    layer = keras.layers.Dense(3, kernel_initializer="zeros", bias_initializer=OutputBias(y))
    model = keras.Sequential([keras.Input((2,)), layer])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss=loss)
    before = layer.bias.numpy()
    model.fit(np.zeros((100, 2)), y, batch_size=100, epochs=5, verbose=0)
    np.testing.assert_allclose(layer.bias.numpy(), before, atol=1e-6)


def test_classes_never_seen_count_as_half_a_sample_and_others_keep_their_ratios():
    values = made(OutputBias(np.array([0, 0, 0, 2, 2])), (5,), "float64")
    share = np.exp(values)
    np.testing.assert_allclose(share.sum(), 1)
    np.testing.assert_allclose(share / share[0], [1, 0.5 / 3, 2 / 3, 0.5 / 3, 0.5 / 3])


@pytest.mark.parametrize(("value", "expected"), [(0, np.log(0.25 / 40)), (1, np.log(40 / 0.25))])
def test_an_outcome_never_seen_leaves_the_log_odds_finite(value, expected):
    initializer = OutputBias(np.full(40, value), activation="sigmoid", unseen=0.25)
    np.testing.assert_allclose(made(initializer, (1,)), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("initializer", "units"),
    [
        (OutputBias(labels(COUNTS)), 4),
        (OutputBias(np.zeros(9, int), activation="softmax", unseen=0.1), 2),
        (OutputBias(labels([5, 3])), 1),
        (OutputBias(np.random.default_rng(0).random((9, 3)) < 0.5, activation="sigmoid"), 3),
        (OutputBias(np.random.default_rng(0).normal(size=(9, 3))), 3),
        (OutputBias(np.random.default_rng(0).normal(size=9)), 1),
        (ReLUBias(0.3), 5),
        (GateBias(2.0, gate="c", cell="lstm"), 8),
        (GateBias(2.0, gate="r", cell="gru"), 6),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_config_round_trip_and_types(initializer, units, dtype):
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert again.get_config() == initializer.get_config()
    values = initializer((units,), dtype=dtype)
    assert keras.backend.standardize_dtype(values.dtype) == dtype
    np.testing.assert_array_equal(made(again, (units,), dtype), keras.ops.convert_to_numpy(values))


def test_output_bias_survives_saving(tmp_path):
    layer = keras.layers.Dense(3, bias_initializer=OutputBias(labels(COUNTS)))
    keras.Sequential([keras.Input((2,)), layer]).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    np.testing.assert_array_equal(loaded.bias.numpy(), layer.bias.numpy())


def test_relu_bias_starts_units_active():
    def active(bias):
        layer = keras.layers.Dense(2000, "relu", kernel_initializer=small, bias_initializer=bias)
        return (layer(np.ones((1, 10))).numpy() > 0).mean()

    small = keras.initializers.RandomNormal(stddev=0.02, seed=0)
    assert active("zeros") < 0.55
    assert active(ReLUBias(0.1)) > 0.9
    np.testing.assert_array_equal(made(ReLUBias(), (3,)), np.float32([0.1, 0.1, 0.1]))


LSTM = dict(unit_forget_bias=False)


@pytest.mark.parametrize(
    ("layer", "row"),
    [
        (keras.layers.LSTM(2, bias_initializer=GateBias(1.5), **LSTM), [0, 0, 1.5, 1.5, 0, 0, 0, 0]),
        (keras.layers.LSTM(1, bias_initializer=GateBias(2, "o"), **LSTM), [0, 0, 0, 2]),
        (keras.layers.LSTMCell(3, bias_initializer=GateBias(-1, "i"), **LSTM), [-1] * 3 + [0] * 9),
        (keras.layers.GRU(4, bias_initializer=GateBias(1.0)), [[1] * 4 + [0] * 8, [0] * 12]),
        (keras.layers.GRU(2, bias_initializer=GateBias(1.0, "r"), reset_after=False), [0, 0, 1, 1, 0, 0]),
    ],
)
def test_gate_bias_opens_the_right_gate(layer, row):
    layer.build((None, 5, 3) if hasattr(layer, "cell") else (None, 3))
    np.testing.assert_array_equal(getattr(layer, "cell", layer).bias.numpy(), np.float32(row))


def test_gate_bias_in_a_convolution():
    layer = keras.layers.ConvLSTM2D(2, 3, bias_initializer=GateBias(1.0), unit_forget_bias=False)
    layer.build((None, 4, 8, 8, 3))
    np.testing.assert_array_equal(layer.cell.bias.numpy(), np.float32([0, 0, 1, 1, 0, 0, 0, 0]))


@pytest.mark.parametrize("make", [keras.layers.LSTM, keras.layers.GRU])
def test_an_open_gate_carries_the_state_and_the_gradient(make):
    """With weights at zero the state is multiplied by the gate alone, so b = 8 keeps it over 50 steps."""
    kept = {}
    for value in (0.0, 8.0):
        options = LSTM if make is keras.layers.LSTM else {}
        layer = make(
            1,
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            bias_initializer=GateBias(value),
            return_state=True,
            **options,
        )
        state = [np.ones((1, 1), np.float32)] * (2 if options else 1)
        kept[value] = float(layer(np.zeros((1, 50, 1)), initial_state=state)[-1][0, 0])
    assert kept[0.0] < 1e-9
    assert kept[8.0] > 0.98


def test_gate_bias_agrees_with_keras_own_forget_bias():
    ours = keras.layers.LSTMCell(3, bias_initializer=GateBias(1.0), unit_forget_bias=False)
    theirs = keras.layers.LSTMCell(3)
    for cell in (ours, theirs):
        cell.build((None, 2))
    np.testing.assert_array_equal(ours.bias.numpy(), theirs.bias.numpy())


def test_gate_bias_survives_saving(tmp_path):
    layer = keras.layers.GRU(2, bias_initializer=GateBias(1.0, "h"))
    keras.Sequential([keras.Input((3, 2)), layer]).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    np.testing.assert_array_equal(loaded.cell.bias.numpy(), layer.cell.bias.numpy())


class Late(keras.Model):
    """Builds its layer inside its first call; if symbolic, Keras initializes later and names no layer."""

    def __init__(self, layer):
        super().__init__()
        self.inner = layer

    def call(self, x):
        return self.inner(x)


def test_gate_bias_in_a_layer_that_is_built_late_needs_the_cell():
    model = Late(keras.layers.GRU(1, bias_initializer=GateBias(1.0, cell="gru"), reset_after=False))
    model(keras.Input((2, 1)))
    np.testing.assert_array_equal(model.inner.cell.bias.numpy(), [1, 0, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OutputBias(), r"OutputBias\(counts=None\): expected either targets y or the counts"),
        (lambda: OutputBias([0, 1], counts=[1, 1]), r"OutputBias\(counts=\[1, 1\]\)"),
        (lambda: OutputBias([0, -1]), r"OutputBias\(y=.*labels 0, 1"),
        (lambda: OutputBias([0.5, 1.5], activation="softmax"), r"OutputBias\(y=.*labels 0, 1"),
        (lambda: OutputBias([0.5, 1.5], activation="sigmoid"), r"OutputBias\(y=.*values in \[0, 1\]"),
        (lambda: OutputBias([np.nan]), r"OutputBias\(y=\[nan\]\): expected finite"),
        (lambda: OutputBias(["a"]), r"OutputBias\(y='<U1 values'\): expected real numbers"),
        (lambda: OutputBias([]), r"OutputBias\(y='shape \(0,\)'\)"),
        (lambda: OutputBias([1], activation="relu"), r"OutputBias\(activation='relu'\)"),
        (lambda: OutputBias([1], unseen=0), r"OutputBias\(unseen=0\)"),
        (lambda: OutputBias(counts=[1, -1]), r"OutputBias\(counts="),
        (lambda: OutputBias(counts=[3, 1, 2], activation="sigmoid"), r"\(no, yes\)"),
        (lambda: OutputBias(labels(COUNTS))((2,)), r"expected units=at least 3.*got a bias of 2"),
        (lambda: OutputBias([0, 1])((2,)), r"expected units=1, by the targets, got a bias of 2"),
        (lambda: OutputBias([0.5, 3.0])((2,)), r"activation='linear'\): expected units=1"),
        (lambda: OutputBias([0, 1])((1, 1)), r"OutputBias\(shape=\(1, 1\)\)"),
        (lambda: ReLUBias(0), r"ReLUBias\(value=0\)"),
        (lambda: GateBias(float("inf")), r"GateBias\(value=inf\)"),
        (lambda: GateBias(cell="rnn"), r"GateBias\(cell='rnn'\)"),
        (
            lambda: GateBias(gate="z", cell="lstm"),
            r"GateBias\(gate='z'\): expected one of 'i', 'f', 'c', 'o'",
        ),
        (lambda: GateBias(1.0)((8,)), r"GateBias\(cell=None\): expected 'lstm' or 'gru', as no cell is"),
        (lambda: GateBias(cell="lstm")((6,)), r"GateBias\(shape=\(6,\)\)"),
        (lambda: GateBias(cell="lstm")((2, 8)), r"GateBias\(shape=\(2, 8\)\)"),
        (
            lambda: keras.layers.GRUCell(2, bias_initializer=GateBias(gate="f")).build((None, 1)),
            r"GateBias\(gate='f'\): expected a gate of the GRU, z, r, h",
        ),
        (
            lambda: keras.layers.LSTM(2, bias_initializer=GateBias()).build((None, 2, 1)),
            r"GateBias: LSTMCell .* fills the forget gate itself. Pass it unit_forget_bias=False",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
