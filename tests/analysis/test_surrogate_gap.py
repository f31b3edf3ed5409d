"""The surrogate beside the true cost, against NumPy and for every form of labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.analysis import surrogate_gap

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))


def probabilities(model, x):
    z = model(x).numpy()
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 7}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)], ids=str
)
def test_three_classes(classifier, gradient_of, options):
    model, x, y = classifier()
    found = surrogate_gap(model, x, y, **options)
    p = probabilities(model, x)
    assert found.surrogate == pytest.approx(-np.log(p[np.arange(24), y]).mean(), rel=1e-9)
    assert found.true == pytest.approx(1 - p[np.arange(24), y].mean(), rel=1e-9)
    assert found.zero_one == pytest.approx(np.mean(p.argmax(-1) != y))
    g = gradient_of(model, x, y)
    assert found.surrogate_gradient == pytest.approx(np.linalg.norm(g), rel=1e-9)
    with tf.GradientTape() as tape:
        chosen = tf.gather(tf.nn.softmax(model(x)), y, batch_dims=1)
        cost = 1 - tf.reduce_mean(chosen)
    t = np.concatenate([np.ravel(v) for v in tape.gradient(cost, [v.value for v in model.weights])])
    assert found.true_gradient == pytest.approx(np.linalg.norm(t), rel=1e-9)
    assert found.cosine == pytest.approx(g @ t / np.linalg.norm(g) / np.linalg.norm(t), rel=1e-9)


def binary(activation, loss):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation, dtype="float64")])
    model.compile(loss=loss)
    return model


def test_forms_of_labels_and_outputs_agree(classifier):
    logits, x, y = classifier()
    wanted = surrogate_gap(logits, x, y)
    softmax, _, _ = classifier(activation="softmax")
    softmax.set_weights(logits.get_weights())
    one_hot, _, _ = classifier(loss=keras.losses.CategoricalCrossentropy(from_logits=True, dtype="float64"))
    one_hot.set_weights(logits.get_weights())
    for model, labels in ((softmax, y), (logits, y[:, None]), (one_hot, np.eye(3)[y])):
        found = surrogate_gap(model, x, labels)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_one_score():
    y = (X[:, 0] > 0).astype(int)
    from_logits = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
    found = [
        surrogate_gap(binary("sigmoid", "binary_crossentropy"), X, y[:, None]),
        surrogate_gap(binary(None, from_logits), X, y[:, None]),
        surrogate_gap(binary(None, "hinge"), X, 2 * y[:, None] - 1),
    ]
    score = binary(None, "hinge")(X).numpy()[:, 0]
    p = np.where(y == 1, 1, 0) * (2 / (1 + np.exp(-score)) - 1) + 1 - 1 / (1 + np.exp(-score))
    for gap in found:
        assert gap.true == pytest.approx(1 - p.mean(), rel=1e-6)
        assert gap.zero_one == pytest.approx(np.mean((score > 0) != (y == 1)))
        assert gap.true_gradient == pytest.approx(found[0].true_gradient, rel=1e-5)


def test_a_true_loss_of_the_users_own():
    """Squared error trained, absolute error meant: at the mean of skewed targets one gradient is 0."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, dtype="float64")])
    model.compile(loss=lambda y, z: (y - z) ** 2)
    y = np.array([[0.0], [0.0], [0.0], [4.0]])
    model.set_weights([np.ones((1, 1))])
    found = surrogate_gap(model, np.ones((4, 1)), y, true_loss=lambda y, z: tf.abs(y - z))
    assert found.surrogate_gradient == pytest.approx(0.0, abs=1e-12)
    assert found.true == pytest.approx(1.5)
    assert found.true_gradient == pytest.approx(0.5)
    assert np.isnan(found.zero_one)
    assert found.findings[0].name == "surrogate converged before the true cost"


def test_gradients_against_each_other_are_reported():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, dtype="float64")])
    model.compile(loss=lambda y, z: z)
    found = surrogate_gap(model, np.ones((4, 1)), np.ones((4, 1)), true_loss=lambda y, z: -z)
    assert found.cosine == pytest.approx(-1.0)
    assert [f.name for f in found.findings] == ["surrogate works against the true cost"]


def test_bad_arguments(classifier):
    model, x, y = classifier(loss=lambda y, z: z[:, 0])
    for arguments, message in (
        ({"true_loss": 3}, "true_loss=3"),
        ({"from_logits": 1}, "from_logits=1"),
        ({"y": RNG.normal(size=(24, 2))}, "labels for outputs of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            surrogate_gap(**{"model": model, "x": x, "y": y} | arguments)


@pytest.mark.parametrize("names", [None, ("a", "b")])
def test_several_outputs_are_refused(names):
    """As a list and by name, with what is allowed in the message."""
    x = RNG.normal(size=(8, 3)).astype(np.float32)
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(2, "softmax")(inputs) for _ in range(2)]
    y = [np.zeros(8, np.int32)] * 2
    if names:
        outputs, y = dict(zip(names, outputs, strict=True)), dict(zip(names, y, strict=True))
    model = keras.Model(inputs, outputs)
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", dict.fromkeys(names, loss) if names else [loss, loss])
    with pytest.raises(ValueError, match="one output of class scores"):
        surrogate_gap(model, x, y)
