"""Newton: exact steps, saddles, and the matrix behind them."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

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
