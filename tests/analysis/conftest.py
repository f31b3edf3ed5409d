"""Models whose loss is a quadratic that is known, and other small ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf


class Quadratic:
    """A float64 model with weights w and loss ½wᵀAw whatever the data are."""

    def __init__(self, matrix, start):
        self.matrix, self.start = np.asarray(matrix, float), np.asarray(start, float)
        size = len(self.start)
        kernel = keras.layers.Dense(size, use_bias=False, dtype="float64", name="w")
        self.model = keras.Sequential([keras.Input((1,)), kernel])
        self.model.set_weights([self.start[None]])
        self.x = np.ones((4, 1))

    def loss(self, _, outputs):
        """One value per sample; the outputs are the weights."""
        return 0.5 * tf.reduce_sum(outputs * (outputs @ tf.constant(self.matrix, outputs.dtype)), axis=-1)

    def compiled(self, optimizer="sgd", **options):
        self.model.compile(optimizer, self.loss, **options)
        return self.model

    @property
    def weights(self):
        return self.model.get_weights()[0][0]


@pytest.fixture(autouse=True)
def double():
    """Keras takes outputs to its default dtype before a loss."""
    before, _ = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


@pytest.fixture(scope="session")
def quadratic():
    """quadratic(matrix, start): a `Quadratic`."""
    return Quadratic


@pytest.fixture(scope="session")
def classifier():
    """classifier(): a compiled float64 network of 3 classes, with data."""

    def make(loss=None, activation=None, **options):
        keras.utils.set_random_seed(2)
        layers = [
            keras.layers.Dense(5, "tanh", dtype="float64"),
            keras.layers.Dense(3, activation, dtype="float64"),
        ]
        model = keras.Sequential([keras.Input((4,)), *layers])
        default = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None, dtype="float64")
        model.compile("sgd", loss or default, **options)
        rng = np.random.default_rng(0)
        return model, rng.normal(size=(24, 4)), rng.integers(0, 3, size=24)

    return make


@pytest.fixture(scope="session")
def gradient_of():
    """gradient_of(model, x, y): the gradient of the compiled loss as a vector, by a tape of its own."""

    def gradient(model, x, y):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x))
        parts = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return np.concatenate([np.ravel(part) for part in parts])

    return gradient
