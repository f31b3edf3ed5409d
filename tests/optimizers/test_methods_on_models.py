"""Methods with a line search on real models through `fit`, beside Adam with five times the evaluations."""

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from sklearn.datasets import load_digits

import tfopt

pytestmark = pytest.mark.slow

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = (IMAGES / 16).astype("float32")
PENALTY = 1e-4
METHODS = {
    "LBFGS": lambda: tfopt.LBFGS(),
    "ConjugateGradient": lambda: tfopt.ConjugateGradient(),
    "NewtonCG": lambda: tfopt.NewtonCG(),
}


def mlp():
    return keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(10)]
    ), IMAGES[:600]


def cnn():
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(8, 3, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.Activation("tanh"),
        keras.layers.AveragePooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
    return keras.Sequential(layers), IMAGES[:400].reshape(-1, 8, 8, 1)


def lstm():
    return recurrent(unroll=False)


def unrolled_lstm():
    return recurrent(unroll=True)


def recurrent(unroll):
    layers = [keras.Input((8, 8)), keras.layers.LSTM(16, unroll=unroll), keras.layers.Dense(10)]
    return keras.Sequential(layers), IMAGES[:300].reshape(-1, 8, 8)


def two_inputs():
    upper, lower = keras.Input((32,), name="upper"), keras.Input((32,), name="lower")
    joined = keras.layers.Concatenate()([keras.layers.Dense(12, "tanh")(part) for part in (upper, lower)])
    model = keras.Model({"upper": upper, "lower": lower}, keras.layers.Dense(10)(joined))
    return model, {"upper": IMAGES[:600, :32], "lower": IMAGES[:600, 32:]}


class Penalised(keras.Model):
    """Adds a loss of its own."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = keras.layers.Dense(24, "tanh"), keras.layers.Dense(10)

    def call(self, x):
        h = self.hidden(x)
        self.add_loss(1e-4 * tf.reduce_mean(h**2))
        return self.out(h)


def with_add_loss():
    return Penalised(), IMAGES[:600]


MODELS = {f.__name__: f for f in (mlp, cnn, lstm, unrolled_lstm, two_inputs, with_add_loss)}


def trained(make_model, optimizer, evaluations, jit=False):
    """The loss in training mode at the iterate, after that many train steps on the full batch."""
    keras.utils.set_random_seed(5)
    model, x = make_model()
    count = len(next(iter(x.values())) if isinstance(x, dict) else x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=jit)
    data = tf.data.Dataset.from_tensors((x, LABELS[:count])).repeat()
    model.fit(data, steps_per_epoch=evaluations, verbose=0)
    if hasattr(optimizer, "result"):
        return optimizer.result.fun
    (batch,) = data.take(1)
    return float(model.compute_loss(*batch, model(batch[0], training=True)))


@pytest.fixture(autouse=True)
def mended():
    """Second derivatives through Keras' normalisation are wrong otherwise."""
    with tfopt.repair_keras():
        yield


@pytest.fixture(scope="module")
def adams():
    """Adam's loss after 500 evaluations, the better of two learning rates, made once per model."""
    made: dict = {}

    def of(name):
        if name not in made:
            rates = (0.003, 0.02)
            made[name] = min(trained(MODELS[name], keras.optimizers.Adam(rate), 500) for rate in rates)
        return made[name]

    return of


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "jit"])
def test_lower_than_adam_with_five_times_the_evaluations(method, model, jit, adams):
    optimizer = method()
    if "lstm" in model and isinstance(optimizer, tfopt.NewtonCG):
        # With its own, which looks at values only, it gets to 0.004.
        optimizer = tfopt.NewtonCG(line_search="strong_wolfe")
    assert trained(MODELS[model], optimizer, 100, jit) < adams(model)


@pytest.mark.parametrize("iterations", [30, 100])
def test_as_low_as_scipy_with_as_many_evaluations(iterations):
    """The digits MLP in float64: L-BFGS-B on the host against LBFGS in `fit`.

    With a penalty on the kernels, so that there is a minimum to come to.
    """
    keras.utils.set_random_seed(0)
    x = IMAGES.astype("float64")
    layers = [
        keras.layers.Dense(n, a, dtype="float64", kernel_regularizer=keras.regularizers.L2(PENALTY))
        for n, a in ((32, "tanh"), (10, None))
    ]
    model = keras.Sequential([keras.Input((64,), dtype="float64"), *layers])
    sizes = [(w.shape, int(np.prod(w.shape))) for w in model.trainable_variables]

    @tf.function
    def evaluate(vector):
        with tf.GradientTape() as tape:
            tape.watch(vector)
            pieces = tf.split(vector, [n for _, n in sizes])
            k1, b1, k2, b2 = (tf.reshape(p, s) for p, (s, _) in zip(pieces, sizes, strict=True))
            logits = tf.tanh(x @ k1 + b1) @ k2 + b2
            value = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, logits))
            value += PENALTY * (tf.reduce_sum(k1**2) + tf.reduce_sum(k2**2))
        return value, tape.gradient(value, vector)

    start = np.concatenate([w.numpy().ravel() for w in model.trainable_variables])
    peer = scipy.optimize.minimize(
        lambda v: [np.asarray(part) for part in evaluate(tf.constant(v))],
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxcor": 10},
    )
    keras.config.set_floatx("float64")
    try:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")
        model.compile(tfopt.LBFGS(), loss, jit_compile=False)
    finally:
        keras.config.set_floatx("float32")
    data = tf.data.Dataset.from_tensors((x, LABELS)).repeat()
    model.fit(data, steps_per_epoch=peer.nfev, verbose=0)
    assert model.optimizer.result.fun <= 1.02 * peer.fun
