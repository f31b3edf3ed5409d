"""NewtonCG: products, trust region, negative curvature, memory."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

RNG = np.random.default_rng(6)
A = RNG.normal(size=(8, 8))
Q = A @ A.T + 0.5 * np.eye(8)
B = RNG.normal(size=8)


def quadratic(x):
    return 0.5 * tf.tensordot(x, tf.linalg.matvec(Q, x), 1) - tf.tensordot(x, tf.constant(B), 1)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_a_long_solve_is_the_newton_step(damping):
    steps = []
    method = tfopt.NewtonCG(damping=damping, max_cg=100, line_search="fixed")
    tfopt.minimize(quadratic, np.zeros(8), method=method, max_evaluations=40, callback=steps.append)
    last, expected = np.zeros(8), np.zeros(8)
    for step in steps:
        expected = last - np.linalg.solve(Q + damping * np.eye(8), Q @ last - B)
        rest = np.linalg.norm((Q + damping * np.eye(8)) @ (step.x.numpy() - expected))
        g = np.linalg.norm(Q @ last - B)
        assert rest <= 1.001 * min(0.5, g**0.5) * g  # what the solve may leave over
        last = step.x.numpy()
    assert len(steps) > 2


def test_no_step_is_longer_than_the_trust_region_which_grows():
    steps = []
    far = lambda x: tf.reduce_sum(tf.sqrt(1.0 + (x - 100.0) ** 2))  # noqa: E731
    method = tfopt.NewtonCG(radius=0.5)
    tfopt.minimize(far, np.zeros(3), method=method, callback=steps.append, max_evaluations=60)
    path = [np.zeros(3), *(step.x.numpy() for step in steps)]
    lengths = [np.linalg.norm(b - a) for a, b in itertools.pairwise(path)]
    assert lengths[0] == pytest.approx(0.5)
    assert lengths[1] == pytest.approx(1.0)
    assert all(b <= 2.0001 * a for a, b in itertools.pairwise(lengths))
    np.testing.assert_allclose(path[-1], np.full(3, 100.0), atol=1e-3)


def test_negative_curvature_is_followed_to_the_border():
    steps = []
    hill = lambda x: -tf.reduce_sum(x**2) + 0.01 * tf.reduce_sum(x**4)  # noqa: E731
    start = np.array([0.01, 0.02])
    method = tfopt.NewtonCG(radius=0.25)
    end = tfopt.minimize(hill, start, method=method, callback=steps.append)
    assert np.linalg.norm(steps[0].x - start) == pytest.approx(0.25)
    assert end.status is tfopt.Status.CONVERGED
    np.testing.assert_allclose(np.abs(end.x), np.full(2, 50**0.5), rtol=1e-6)


def test_it_leaves_a_saddle_that_newton_walks_into():
    valleys = lambda x: x[0] ** 2 + 0.25 * x[1] ** 4 - 0.5 * x[1] ** 2  # noqa: E731
    end = tfopt.minimize(valleys, np.array([0.5, 0.1]), method="NewtonCG", tol=1e-9)
    np.testing.assert_allclose(np.abs(end.x), [0.0, 1.0], atol=1e-8)


def test_convergence_is_faster_than_linear_at_the_end():
    norms = []
    rosenbrock = lambda x: tf.reduce_sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)  # noqa: E731
    method = tfopt.NewtonCG()
    end = tfopt.minimize(
        rosenbrock, np.full(6, 0.8), method=method, tol=1e-11, callback=lambda r: norms.append(r.grad_norm)
    )
    assert end.status is tfopt.Status.CONVERGED
    assert norms[-1] < norms[-2] ** 1.3


def test_a_million_weights_in_memory_proportional_to_them():
    model = keras.Sequential([keras.Input((999,)), keras.layers.Dense(1000, "tanh"), keras.layers.Dense(1)])
    model.compile(tfopt.NewtonCG(max_cg=3), "mse", jit_compile=False)
    x = RNG.normal(size=(8, 999)).astype("float32")
    data = tf.data.Dataset.from_tensors((x, x[:, :1])).repeat()
    history = model.fit(
        data, epochs=4, steps_per_epoch=1, verbose=0, callbacks=[tfopt.callbacks.EvaluationWeights()]
    )
    assert history.history["loss"][-1] < 0.9 * history.history["loss"][0]
    state = sum(int(np.prod(v.shape)) for v in model.optimizer.variables)
    assert state <= 6 * model.count_params() + 40


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"damping": -1.0}, "damping"),
        ({"damping": "yes"}, "damping"),
        ({"max_cg": 0}, "max_cg"),
        ({"radius": 0.0}, "radius"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"line_search": "golden"}, "line_search"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, part):
    with pytest.raises(ValueError, match=part):
        tfopt.NewtonCG(**options)
