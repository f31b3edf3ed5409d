"""Newton: exact steps, saddles, and the matrix behind them."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.optimizers._vectors import dense

RNG = np.random.default_rng(5)
A = RNG.normal(size=(5, 5))
Q = A @ A.T + 0.1 * np.eye(5)
B = RNG.normal(size=5)


def quadratic(x):
    return 0.5 * tf.tensordot(x, tf.linalg.matvec(Q, x), 1) - tf.tensordot(x, tf.constant(B), 1)


def between_two_valleys(x):
    """Minima at y = ±1, a saddle between them."""
    return x[0] ** 2 + 0.25 * x[1] ** 4 - 0.5 * x[1] ** 2


START = tf.constant([0.5, 0.1], tf.float64)


@pytest.mark.parametrize(
    "options", [{}, {"damping": 0.0, "solver": "eigh"}, {"solver": "saddle_free"}], ids=str
)
def test_one_step_solves_a_quadratic(options):
    found = tfopt.minimize(quadratic, np.zeros(5), method=tfopt.Newton(**options), tol=1e-9)
    assert found.iterations == 1
    np.testing.assert_allclose(found.x, np.linalg.solve(Q, B), rtol=1e-10)
    assert (found.products, found.message) == (5, "")


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_fit_takes_the_steps_of_iteratively_reweighted_least_squares(alpha):
    """Logistic regression, whose Hessian is XᵀWX/m: written out in NumPy."""
    x = RNG.normal(size=(40, 4))
    y = (x @ [1.0, -2.0, 0.5, 0.0] + RNG.normal(size=40) > 0).astype("float64")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False, dtype="float64")])
    model.layers[0].set_weights([np.zeros((4, 1))])
    loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
    model.compile(tfopt.Newton(damping=alpha, solver="eigh"), loss, jit_compile=False)
    weight = np.zeros(4)
    # The first step from 0 overshoots nothing: a plain step per evaluation.
    for _ in range(4):
        p = 1 / (1 + np.exp(-x @ weight))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) / 40 + alpha * np.eye(4)
        weight = weight - np.linalg.solve(hessian, x.T @ (p - y) / 40)
    model.fit(tf.data.Dataset.from_tensors((x, y)).repeat(), steps_per_epoch=5, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], weight, rtol=1e-6)


def test_the_plain_step_walks_into_a_saddle():
    plain = tfopt.Newton(damping=0.0, solver="eigh")
    found = tfopt.minimize(between_two_valleys, START, method=plain, tol=1e-10)
    assert found.status is tfopt.Status.CONVERGED
    np.testing.assert_allclose(found.x, [0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [{}, {"damping": 2.0}, {"solver": "saddle_free"}, {"damping": 2.0, "solver": "eigh"}],
    ids=str,
)
def test_enough_damping_or_absolute_eigenvalues_lead_past_it(options):
    found = tfopt.minimize(between_two_valleys, START, method=tfopt.Newton(**options), tol=1e-10)
    assert found.status is tfopt.Status.CONVERGED
    np.testing.assert_allclose(np.abs(found.x), [0.0, 1.0], atol=1e-8)
    assert ("not positive definite" in found.message) is (options == {})


def test_the_damping_it_takes_is_told(caplog):
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(n, "tanh") for n in (4, 1))])
    model.compile(tfopt.Newton(), "mse", jit_compile=False)
    x = RNG.normal(size=(16, 3))
    with caplog.at_level(logging.INFO, "tfopt"):
        model.fit(tf.data.Dataset.from_tensors((x, np.sign(x[:, :1]))).repeat(), steps_per_epoch=8, verbose=0)
    said, damping = model.optimizer.result.message, model.optimizer.state_value("damping")
    assert said in caplog.text
    assert "not positive definite" in said
    assert said.endswith(f"stands at {damping:.3g}.")
    assert damping > 0.0


def test_where_the_model_is_good_the_damping_goes_back_to_nothing():
    found = tfopt.Newton()
    end = tfopt.minimize(lambda x: tf.reduce_sum(tf.cosh(x) + x), np.full(3, 2.0), method=found, tol=1e-12)
    assert end.status is tfopt.Status.CONVERGED
    np.testing.assert_allclose(end.x, np.full(3, np.arcsinh(-1.0)), rtol=1e-12)
    assert end.iterations <= 8


def test_a_hessian_that_is_not_finite_falls_back_on_the_gradient():
    # The second derivative of |x|^1.5 is infinite at 0.
    end = tfopt.minimize(
        lambda x: tf.abs(x[0]) ** 1.5 + (x[1] - 1.0) ** 2,
        tf.constant([0.0, 3.0], tf.float64),
        method="Newton",
    )
    np.testing.assert_allclose(end.x, [0.0, 1.0], atol=1e-3)


def test_too_many_weights_are_refused_by_name():
    with pytest.raises(ValueError, match=r"got 11.*NewtonCG"):
        tfopt.Newton(max_parameters=10).build([keras.Variable(tf.zeros(11))])


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"damping": -1.0}, "damping"),
        ({"damping": "adaptively"}, "damping"),
        ({"solver": "lu"}, "solver"),
        ({"solver": "eigh"}, "damping"),
        ({"solver": "eigh", "damping": 0.0, "line_search": "backtracking"}, "line_search"),
        ({"max_parameters": 0}, "max_parameters"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, part):
    with pytest.raises(ValueError, match=part):
        tfopt.Newton(**options)


def test_the_matrix_behind_a_loop_under_xla():
    """Lists, in which a loop keeps its steps, XLA knows for one vector at a time only."""

    def gradient_of(x):
        turn = lambda i, s: (i + 1, tf.tanh(s + x * tf.reduce_sum(x)))  # noqa: E731
        total = tf.while_loop(lambda i, _: i < 3, turn, (0, tf.zeros(3)), maximum_iterations=3)[1]
        return tf.gradients(tf.reduce_sum(total), x)[0]

    def matrix(x):
        gradient = gradient_of(x)
        return dense(lambda v: tf.gradients(tf.tensordot(gradient, v, 1), x)[0], 3, x.dtype)

    point = tf.constant([0.3, -0.2, 0.5])
    plain, compiled = (tf.function(matrix, autograph=False, jit_compile=jit)(point) for jit in (False, True))
    step = 1e-2 * np.eye(3, dtype="float32")
    differences = tf.function(gradient_of, autograph=False)
    expected = [(differences(point + d) - differences(point - d)) / 2e-2 for d in step]
    np.testing.assert_allclose(plain, expected, rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(compiled, plain, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU])
def test_recurrent_models_take_the_same_steps_under_xla(layer):
    x = RNG.normal(size=(8, 4, 3))
    losses = []
    for jit in (False, True):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4, 3)), layer(2), keras.layers.Dense(1)])
        model.compile(tfopt.Newton(), "mse", jit_compile=jit)
        fitted = model.fit(x, x[:, 0, :1], batch_size=8, epochs=6, shuffle=False, verbose=0)
        losses.append(fitted.history["loss"])
    assert losses[0][-1] < 0.9 * losses[0][0]
    np.testing.assert_allclose(*losses, rtol=1e-3)
