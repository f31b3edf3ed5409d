"""Curvature along the gradient: quadratics, where all is known; a network; what is refused."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.analysis import gradient_curvature

SPECTRUM = np.diag([1.0, 10.0, 100.0])
START = [3.0, -2.0, 0.5]


@pytest.mark.parametrize("rate", [1e-3, 0.0199, 0.03])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_on_a_quadratic_everything_is_exact(quadratic, rate, jit_compile):
    problem = quadratic(SPECTRUM, START)
    found = gradient_curvature(
        problem.compiled(), problem.x, problem.x, learning_rate=rate, jit_compile=jit_compile
    )
    w = np.array(START)
    g = SPECTRUM @ w
    after = w - rate * g
    change = 0.5 * after @ SPECTRUM @ after - 0.5 * w @ SPECTRUM @ w
    wanted = (0.5 * w @ SPECTRUM @ w, g @ g, g @ SPECTRUM @ g, 2 * g @ g / (g @ SPECTRUM @ g))
    np.testing.assert_allclose(found[:4], wanted, rtol=1e-12)
    np.testing.assert_allclose([found.predicted_change, found.actual_change], change, rtol=1e-9)
    assert found.ill_conditioned == (change > 0) == bool(found.findings)
    np.testing.assert_array_equal(problem.weights, START)


@pytest.mark.parametrize("share", [0.9, 0.999, 1.001, 1.1])
def test_the_flag_agrees_with_a_step_that_raises_the_loss(quadratic, share):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    problem = quadratic(root @ root.T, rng.normal(size=6))
    arguments = (problem.compiled(), problem.x, problem.x)
    critical = gradient_curvature(*arguments, learning_rate=1.0).critical_rate
    found = gradient_curvature(*arguments, learning_rate=share * critical)
    assert found.ill_conditioned == (share > 1)
    assert (found.actual_change > 0) == (share > 1)


def test_no_bound_where_the_curvature_is_not_positive():
    hill = gradient_curvature(lambda x: -tf.reduce_sum(x**2), tf.constant([1.0, 2.0]), learning_rate=0.1)
    assert hill.critical_rate == math.inf
    assert not hill.ill_conditioned
    flat = gradient_curvature(lambda x: 0.0 * tf.reduce_sum(x), tf.constant([1.0, 2.0]), learning_rate=0.1)
    assert (flat.squared_norm, flat.curvature, flat.ill_conditioned) == (0.0, 0.0, False)


def test_batches_and_data_sets_make_the_whole(classifier, gradient_of):
    model, x, y = classifier()
    before = model.get_weights()
    whole = gradient_curvature(model, x, y, learning_rate=0.3)
    g = gradient_of(model, x, y)
    np.testing.assert_allclose(whole.squared_norm, g @ g, rtol=1e-12)
    hessian = tfopt.curvature.hessian_operator(model, x, y)
    np.testing.assert_allclose(whole.curvature, g @ (hessian @ g), rtol=1e-12)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(7)
    for found in (
        gradient_curvature(model, x, y, batch_size=5, learning_rate=0.3),
        gradient_curvature(model, dataset, learning_rate=0.3),
    ):
        np.testing.assert_allclose(found, whole, rtol=1e-10)
    shifted = [w - 0.3 * p for w, p in zip(before, hessian.nest(g), strict=True)]
    model.set_weights(shifted)
    after = float(model.compute_loss(x, y, model(x)))
    np.testing.assert_allclose(whole.actual_change, after - whole.loss, rtol=1e-9)


def model_with(**compiled):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    if compiled:
        model.compile(**compiled)
    return model


X = np.ones((4, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model_with(), "expected a compiled model, one with a loss"),
        (lambda: model_with(optimizer="sgd"), r"expected a model with a loss: compile\(loss=…\)"),
        (lambda: keras.Sequential([keras.layers.Dense(1)]), "expected a compiled model"),
    ],
)
def test_models_without_loss(make, message):
    model = make()
    before = model.get_weights()
    calls = (
        lambda: tfopt.analysis.gradient_curvature(model, X, X[:, :1], learning_rate=0.1),
        lambda: tfopt.analysis.gradient_noise_scale(model, X, X[:, :1]),
        lambda: tfopt.analysis.gradient_flow(model, X, X[:, :1]),
        lambda: tfopt.analysis.layer_interaction(model, X, X[:, :1], learning_rate=0.1),
        lambda: tfopt.analysis.loss_slice(model, X, X[:, :1]),
        lambda: tfopt.analysis.surrogate_gap(model, X, X[:, 0]),
    )
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)


def test_losses_that_are_added_do():
    penalty = keras.regularizers.L2(1.0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_regularizer=penalty)])
    model.compile("sgd")
    found = gradient_curvature(model, X, learning_rate=0.1)
    kernel = model.get_weights()[0]
    np.testing.assert_allclose(found.squared_norm, 4 * np.sum(kernel**2), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, r"gradient_curvature\(learning_rate=0.0\)"),
        ({"batch_size": 0}, r"batch_size=0"),
        ({"training": 1}, "training=1"),
        ({"jit_compile": None}, "jit_compile=None"),
        ({"x": None}, "x=None"),
        ({"y": X[:2]}, "one number of samples"),
    ],
)
def test_bad_arguments(arguments, message):
    model = model_with(optimizer="sgd", loss="mse")
    with pytest.raises(ValueError, match=message):
        gradient_curvature(model, **{"x": X, "y": X[:, :1], "learning_rate": 0.1} | arguments)
