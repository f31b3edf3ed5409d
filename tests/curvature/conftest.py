"""Small float64 networks of several kinds, with data, and their dense Hessians by finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

DTYPE = {"dtype": "float64"}


class Problem:
    """A compiled model with its data."""

    def __init__(self, model, x, y, loss=None, sample_weight=None):
        self.model, self.x, self.y, self.sample_weight = model, x, y, sample_weight
        model.compile(loss=loss or keras.losses.MeanSquaredError(**DTYPE))
        rng = np.random.default_rng(7)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(0.0, 0.7, size=variable.shape))

    @property
    def weights(self):
        return [variable.value for variable in self.model.trainable_variables]

    @property
    def size(self):
        return sum(v.shape.num_elements() for v in self.weights)

    def loss(self, training=False):
        """The loss of all samples in one batch, by Keras."""
        outputs = self.model(self.x, training=training)
        return self.model.compute_loss(self.x, self.y, outputs, self.sample_weight)

    def gradient(self, training=False):
        with tf.GradientTape() as tape:
            loss = self.loss(training)
        parts = tape.gradient(loss, self.weights, unconnected_gradients="zero")
        return np.concatenate([np.ravel(tf.convert_to_tensor(part)) for part in parts])

    def hessian(self, training=False):
        """Dense, by central differences of the gradient, extrapolated once."""
        gradient = tf.function(self._gradient_tensor, autograph=False)
        start = np.concatenate([np.ravel(v) for v in self.weights])

        def at(point):
            self.assign(point)
            return gradient(training).numpy()

        def column(unit, step):
            return (at(start + step * unit) - at(start - step * unit)) / (2 * step)

        units = np.eye(len(start))
        dense = np.stack([(4 * column(u, 5e-4) - column(u, 1e-3)) / 3 for u in units], axis=1)
        self.assign(start)
        return dense

    def _gradient_tensor(self, training):
        with tf.GradientTape() as tape:
            loss = self.loss(training)
        parts = tape.gradient(loss, self.weights, unconnected_gradients="zero")
        return tf.concat([tf.reshape(tf.convert_to_tensor(part), [-1]) for part in parts], 0)

    def assign(self, vector):
        pieces = np.split(vector, np.cumsum([v.shape.num_elements() for v in self.weights])[:-1])
        for v, piece in zip(self.weights, pieces, strict=True):
            v.assign(piece.reshape(v.shape))


def labels(rng, shape):
    return rng.integers(0, 3, size=shape)


def cross_entropy(**options):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **DTYPE, **options)


def mlp(loss=None, regularizer=None, weighted=False, labelled=True):
    rng = np.random.default_rng(1)
    dense = lambda n, **k: keras.layers.Dense(n, kernel_regularizer=regularizer, **DTYPE, **k)  # noqa: E731
    model = keras.Sequential([keras.Input((4,)), dense(5, activation="tanh"), dense(3)])
    y = labels(rng, 13) if labelled else rng.normal(size=(13, 3))
    weights = rng.uniform(0.2, 3.0, size=13) if weighted else None
    return Problem(model, rng.normal(size=(13, 4)), y, loss or cross_entropy(), weights)


def convolution(dtype="float64"):
    rng = np.random.default_rng(2)
    layers = [
        keras.layers.Conv2D(3, 2, activation="gelu", dtype=dtype),
        keras.layers.MaxPooling2D(2, dtype=dtype),
        keras.layers.Flatten(dtype=dtype),
        keras.layers.Dense(3, dtype=dtype),
    ]
    model = keras.Sequential([keras.Input((5, 5, 2)), *layers])
    return Problem(model, rng.normal(size=(9, 5, 5, 2)).astype(dtype), labels(rng, 9), cross_entropy())


def lstm():
    rng = np.random.default_rng(3)
    layers = [
        keras.layers.Embedding(6, 2, **DTYPE),
        keras.layers.LSTM(3, **DTYPE),
        keras.layers.Dense(2, **DTYPE),
    ]
    model = keras.Sequential([keras.Input((4,), dtype="int32"), *layers])
    return Problem(model, rng.integers(0, 6, size=(7, 4)), rng.normal(size=(7, 2)))


def two_outputs():
    rng = np.random.default_rng(4)
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    hidden = keras.layers.Dense(4, activation="tanh", **DTYPE)(keras.layers.Concatenate(**DTYPE)([a, b]))
    outputs = {name: keras.layers.Dense(n, name=name, **DTYPE)(hidden) for name, n in (("p", 3), ("q", 1))}
    model = keras.Model({"a": a, "b": b}, outputs)
    x = {"a": rng.normal(size=(8, 3)), "b": rng.normal(size=(8, 2))}
    y = {"p": labels(rng, 8), "q": rng.normal(size=(8, 1))}
    return Problem(model, x, y, {"p": cross_entropy(), "q": keras.losses.MeanSquaredError(**DTYPE)})


def linear():
    rng = np.random.default_rng(5)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, **DTYPE)])
    return Problem(model, rng.normal(size=(11, 6)), rng.normal(size=(11, 2)))


NETWORKS = {
    "mlp": mlp,
    "convolution": convolution,
    "lstm": lstm,
    "two outputs": two_outputs,
    "linear": linear,
}


@pytest.fixture(autouse=True)
def double():
    """Keras adds regularizers to a loss of its default dtype only."""
    # Asked for the first time, the policy of layers follows the default; it stays what it is.
    before, _ = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


@pytest.fixture(scope="session")
def network():
    """A function that makes one network by name, compiled and with its data."""

    def make(name, **options):
        keras.utils.set_random_seed(0)
        return NETWORKS[name](**options)

    return make


@pytest.fixture(scope="session")
def compiled():
    """A function that compiles a model and puts data beside it."""
    return Problem
