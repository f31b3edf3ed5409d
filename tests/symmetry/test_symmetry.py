"""Equivalent models with other weights; units that stay equal; what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.symmetry import _glue, find_identical_units, permute_units, rescale_units

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 8, 8, 2)).astype("float32")
VECTORS = RNG.normal(size=(6, 4)).astype("float32")
SEQUENCES = RNG.normal(size=(3, 5, 4)).astype("float32")
TOKENS = RNG.integers(0, 7, size=(3, 5))


def scattered(model, seed=1):
    """The model with every weight drawn anew, positive where it must be."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.7
        variable.assign(rng.uniform(low, 1.3, size=variable.shape))
    return model


def dense(activation="tanh"):
    hidden = keras.layers.Dense(5, activation, name="hidden")
    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(3)]), VECTORS


def normalised():
    layers = [
        keras.layers.Dense(5, name="hidden"),
        keras.layers.BatchNormalization(),
        keras.layers.PReLU(),
        keras.layers.Dropout(0.3),
        tfopt.layers.LayerNormalization(),
        keras.layers.Dense(3),
    ]
    return keras.Sequential([keras.Input((4,)), *layers]), VECTORS


def convolutional():
    layers = [
        keras.layers.Conv2D(5, 3, activation="relu", name="hidden"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
    ]
    return keras.Sequential([keras.Input((8, 8, 2)), *layers]), IMAGES


def flattened_and_normalised():
    layers = [
        keras.layers.Conv2D(5, 3, name="hidden"),
        keras.layers.Flatten(),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(3),
    ]
    return keras.Sequential([keras.Input((8, 8, 2)), *layers]), IMAGES


def transposed():
    layers = [
        keras.layers.Conv2DTranspose(5, 3, activation="leaky_relu", name="hidden"),
        keras.layers.Conv2DTranspose(2, 2),
    ]
    return keras.Sequential([keras.Input((8, 8, 2)), *layers]), IMAGES


def branched():
    x = keras.Input((4,))
    hidden = keras.layers.Dense(5, "relu", name="hidden")(x)
    return keras.Model(x, [keras.layers.Dense(2)(hidden), keras.layers.Dense(3)(hidden)]), VECTORS


def recurrent(layer):
    made = layer(5, name="hidden", return_sequences=True)
    after = keras.layers.Bidirectional(keras.layers.GRU(2))
    return keras.Sequential([keras.Input((5, 4)), made, after, keras.layers.Dense(2)]), SEQUENCES


def embedded():
    layers = [keras.layers.Embedding(7, 5, name="hidden"), keras.layers.SimpleRNN(2)]
    return keras.Sequential([keras.Input((5,), dtype="int32"), *layers]), TOKENS


MODELS = {
    "dense": dense,
    "normalised": normalised,
    "convolutional": convolutional,
    "flattened": flattened_and_normalised,
    "transposed": transposed,
    "branched": branched,
    "SimpleRNN": lambda: recurrent(keras.layers.SimpleRNN),
    "LSTM": lambda: recurrent(keras.layers.LSTM),
    "GRU": lambda: recurrent(keras.layers.GRU),
    "embedded": embedded,
}
ORDER = [3, 0, 4, 1, 2]


def assert_same_outputs(model, other, x):
    for left, right in zip(tf.nest.flatten(model(x)), tf.nest.flatten(other(x)), strict=True):
        assert np.abs(left).max() > 0.05
        np.testing.assert_allclose(left, right, rtol=2e-5, atol=2e-6)


# -- permute_units --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_permuted_units_leave_the_outputs(name):
    model, x = MODELS[name]()
    scattered(model)
    before = model.get_weights()
    other = permute_units(model, "hidden", ORDER)
    assert_same_outputs(model, other, x)
    axis = -2 if name == "transposed" else -1
    first, old = (np.moveaxis(weights[0], axis, -1)[..., :5] for weights in (other.get_weights(), before))
    np.testing.assert_array_equal(first, old[..., ORDER])
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)
    changed = [not np.array_equal(a, b) for a, b in zip(other.get_weights(), before, strict=True)]
    assert sum(changed) >= 2


def test_permuting_back_gives_the_weights_back():
    model, _ = normalised()
    scattered(model)
    there = permute_units(model, "hidden", ORDER)
    back = permute_units(there, there.get_layer("hidden"), np.argsort(ORDER))
    for left, right in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


# -- rescale_units --------------------------------------------------------------------------------------


SCALABLE = {
    "dense": lambda: dense("relu"),
    "convolutional": convolutional,
    "transposed": transposed,
    "branched": branched,
    "embedded": embedded,
}


@pytest.mark.parametrize("name", SCALABLE)
def test_rescaled_units_leave_the_outputs(name):
    model, x = SCALABLE[name]()
    scattered(model)
    factors = np.array([8.0, 0.25, 1.0, 2.0, 0.5])
    other = rescale_units(model, "hidden", factors)
    assert_same_outputs(model, other, x)
    before, after = model.get_weights()[0], other.get_weights()[0]
    axis = -2 if name == "transposed" else -1
    ratio = np.moveaxis(after / before, axis, -1)
    np.testing.assert_allclose(ratio, np.broadcast_to(factors, ratio.shape), rtol=1e-6)


def test_rescaling_a_rectified_recurrence():
    layers = [keras.layers.SimpleRNN(5, activation="relu", name="hidden"), keras.layers.Dense(2)]
    model = scattered(keras.Sequential([keras.Input((5, 4)), *layers]))
    assert_same_outputs(model, rescale_units(model, "hidden", [8.0, 0.25, 1.0, 2.0, 0.5]), SEQUENCES)


def test_the_gradient_does_shrink():
    model, x = dense("relu")
    scattered(model)
    other = rescale_units(model, "hidden", 4.0)
    norms = []
    for one in (model, other):
        one.compile(loss="mse")
        with tf.GradientTape() as tape:
            loss = one.compute_loss(x, np.ones((6, 3)), one(x))
        norms.append(tape.gradient(loss, one.weights[0].value).numpy())
    np.testing.assert_allclose(norms[1], norms[0] / 4, rtol=1e-4, atol=1e-6)


def test_signs_of_odd_units_may_flip():
    model, x = dense("tanh")
    scattered(model)
    assert_same_outputs(model, rescale_units(model, "hidden", [-1, 1, -1, -1, 1]), x)
    model, x = dense("linear")
    scattered(model)
    assert_same_outputs(model, rescale_units(model, "hidden", [-3, 1, -2, -1, 5]), x)


@pytest.mark.parametrize(
    ("make", "factors", "message"),
    [
        (dense, 2.0, "the odd function in 'hidden' allows: 1 and −1"),
        (lambda: dense("relu"), -1.0, "the homogeneous function in 'hidden' allows: above 0"),
        (lambda: dense("sigmoid"), 2.0, "the other function in 'hidden' allows: 1"),
        (normalised, 2.0, "gamma.*expected units that nothing normalises"),
        (lambda: recurrent(keras.layers.LSTM), 2.0, "pass through no gate"),
        (lambda: dense("relu"), 0.0, r"factors=0.0\): expected a finite number other than 0, or 5"),
        (lambda: dense("relu"), [1.0, 2.0], r"factors=\[1.0, 2.0\]"),
    ],
)
def test_what_cannot_be_rescaled(make, factors, message):
    model, _ = make()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        rescale_units(model, "hidden", factors)
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)


# -- what is refused ------------------------------------------------------------------------------------


def merged():
    x = keras.Input((4,))
    hidden = keras.layers.Dense(4, name="hidden")(x)
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.Add(name="sum")([x, hidden])))


def softmaxed():
    layers = [keras.layers.Dense(5, "softmax", name="hidden"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((4,)), *layers])


def reshaped():
    layers = [keras.layers.Dense(6, name="hidden"), keras.layers.Reshape((2, 3)), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((4,)), *layers])


def shared():
    x, hidden = keras.Input((4,)), keras.layers.Dense(4, name="hidden")
    return keras.Model(x, keras.layers.Dense(1)(hidden(hidden(x))))


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(4, name="hidden")

    def call(self, x):
        return self.hidden(x)


def subclassed():
    model = Subclass()
    model(VECTORS)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (merged, r"'sum' \(Add\) joins several tensors"),
        (softmaxed, r"'hidden' \(Dense\) has no units of its own"),
        (reshaped, r"what 'reshape.*' \(Reshape\) does to single units is not known"),
        (shared, r"'hidden' \(Dense\) is called 2 times"),
        (
            lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="hidden")]),
            "one of the model's",
        ),
        (subclassed, "expected a built Sequential or functional model"),
        (lambda: keras.Sequential([keras.layers.Dense(2, name="hidden")]), "expected a built"),
    ],
)
def test_what_may_mix_units_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        permute_units(make(), "hidden", [0])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 4, 5], 3])
def test_orders_are_permutations(order):
    with pytest.raises(ValueError, match="the numbers 0 to 4, each once"):
        permute_units(dense()[0], "hidden", order)


def test_layers_are_the_models():
    with pytest.raises(
        ValueError, match=r"layer='other'\): expected one of the model's layers: hidden, dense"
    ):
        permute_units(dense()[0], "other", ORDER)


def test_the_graph_of_calls_is_there():
    """Keras' private `_functional` and `_nodes_by_depth`."""
    model, _ = dense()
    (first, _, outputs), (second, inputs, _) = sorted(
        _glue.calls_of(model), key=lambda call: call[0].name != "hidden"
    )
    assert (first, second) == tuple(model.layers)
    assert inputs[0] is outputs[0]


# -- find_identical_units -------------------------------------------------------------------------------


def groups(model):
    return {(group.layer, group.units) for group in find_identical_units(model).groups}


def planted():
    """Units 1 and 3 equal, in and out; 0 and 4 equal on the way in alone."""
    model, _ = dense()
    scattered(model)
    kernel, bias, out, _ = model.get_weights()
    for a, b in ((3, 1), (4, 0)):
        kernel[:, a], bias[a] = kernel[:, b], bias[b]
    out[3] = out[1]
    model.set_weights([kernel, bias, out, np.zeros(3)])
    return model


def test_planted_units_are_found():
    assert groups(planted()) == {("hidden", (1, 3))}


def test_random_weights_have_none():
    for name in MODELS:
        model, _ = MODELS[name]()
        assert groups(scattered(model)) == set(), name


@pytest.mark.parametrize(
    "make", [lambda: tfopt.Adam(0.01), pytest.param(tfopt.LBFGS, marks=pytest.mark.slow)]
)
def test_training_keeps_them_equal_and_tells_the_others_apart(make):
    model = planted()
    model.compile(make(), "mse")
    model.fit(VECTORS, np.sin(3 * VECTORS[:, :3]), epochs=20, batch_size=6, verbose=0)
    kernel, _, out, _ = model.get_weights()
    np.testing.assert_allclose(kernel[:, 1], kernel[:, 3], rtol=1e-5)
    np.testing.assert_allclose(out[1], out[3], rtol=1e-4, atol=1e-6)
    assert np.abs(kernel[:, 0] - kernel[:, 4]).max() > 1e-3


def test_two_layers_of_constants():
    layers = [
        keras.layers.Dense(n, "tanh", kernel_initializer=keras.initializers.Constant(0.1), name=name)
        for n, name in ((3, "a"), (4, "b"), (2, "c"))
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    assert groups(model) == {("a", (0, 1, 2)), ("b", (0, 1, 2, 3))}


def test_units_equal_up_to_an_exchange_elsewhere():
    """No exchange within one layer alone leaves these weights as they are."""
    layers = [keras.layers.Dense(2, "tanh", name=name) for name in "ab"]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    kernel = np.repeat(RNG.normal(size=(4, 1)), 2, axis=1)
    crossed = np.array([[0.3, 0.8], [0.8, 0.3]])
    model.set_weights([kernel, np.zeros(2), crossed, np.zeros(2), np.ones((2, 1)), np.zeros(1)])
    assert groups(model) == {("a", (0, 1)), ("b", (0, 1))}
    model.compile(tfopt.SGD(0.1), "mse")
    model.fit(VECTORS, VECTORS[:, :1], epochs=10, verbose=0)
    np.testing.assert_allclose(*model.get_weights()[0].T, rtol=1e-6)
    rest = [np.zeros(2), np.ones((2, 1)), np.zeros(1)]
    model.set_weights([kernel, np.zeros(2), crossed + np.diag([0.1, 0.0]), *rest])
    assert groups(model) == set()
    # The same collections of weights, from units that differ.
    model.set_weights([RNG.normal(size=(4, 2)), np.zeros(2), crossed, *rest])
    assert groups(model) == set()


@pytest.mark.parametrize("layer", [keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU])
def test_recurrent_units(layer):
    layers = [layer(4, name="hidden"), keras.layers.Dense(2)]
    model = scattered(keras.Sequential([keras.Input((5, 4)), *layers]))
    once = permute_units(model, "hidden", [0, 2, 1, 3])
    both = [(a + b) / 2 for a, b in zip(model.get_weights(), once.get_weights(), strict=True)]
    model.set_weights(both)
    assert groups(model) == {("hidden", (1, 2))}


def test_channels_before_flatten():
    model, _ = convolutional()
    scattered(model)
    once = permute_units(model, "hidden", [0, 1, 4, 3, 2])
    model.set_weights([(a + b) / 2 for a, b in zip(model.get_weights(), once.get_weights(), strict=True)])
    assert groups(model) == {("hidden", (2, 4))}


def test_dropout_breaks_the_tie_and_is_named():
    layers = [
        keras.layers.Dense(3, kernel_initializer="zeros", name="hidden"),
        keras.layers.Dropout(0.5, name="drop"),
        keras.layers.Dense(1, kernel_initializer="zeros"),
    ]
    found = find_identical_units(keras.Sequential([keras.Input((4,)), *layers]))
    assert found.groups[0].broken_by == ("drop",)
    assert "Only drop tells them apart" in found.findings[0].sentence


def test_what_is_not_looked_at_is_said():
    found = find_identical_units(merged())
    assert "joins several tensors" in found.skipped["hidden"]
    assert found.groups == ()
    assert found.findings == []
