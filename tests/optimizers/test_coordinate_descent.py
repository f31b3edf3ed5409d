"""CoordinateDescent and the exact conjugate gradients: one coordinate, one product at a time."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import tfopt

RNG = np.random.default_rng(8)
A = RNG.normal(size=(6, 6))
Q = A @ A.T + 0.5 * np.eye(6)
B = RNG.normal(size=6)


def quadratic(x):
    return 0.5 * tf.tensordot(x, tf.linalg.matvec(Q, x), 1) - tf.tensordot(x, tf.constant(B), 1)


def path_of(method, evaluations, fun=quadratic, size=6):
    steps = []
    tfopt.minimize(
        fun, np.zeros(size), method=method, callback=steps.append, max_evaluations=evaluations, tol=0.0
    )
    return [np.zeros(size), *(step.x.numpy() for step in steps)]


@pytest.mark.parametrize("search", ["backtracking", "strong_wolfe", "fixed"])
def test_cycles_are_gauss_seidel_sweeps(search):
    """On a quadratic the exact minimum along each coordinate in turn is Gauss and Seidel's method."""
    path = path_of(tfopt.CoordinateDescent(line_search=search), 20)
    expected, last = [np.zeros(6)], np.zeros(6)
    for visit in range(18):
        i = visit % 6
        last = last.copy()
        last[i] -= (Q[i] @ last - B[i]) / Q[i, i]
        expected.append(last)
    np.testing.assert_allclose(path[:19], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", ["cyclic", "random", "greedy"])
@pytest.mark.parametrize("step", ["newton", "line_search"])
def test_one_coordinate_moves_and_the_others_stay_to_the_bit(order, step):
    path = path_of(tfopt.CoordinateDescent(order=order, step=step, line_search="exact"), 60)
    assert len(path) > 10
    visited = []
    for before, after in itertools.pairwise(path):
        (moved,) = np.nonzero(before != after)
        assert len(moved) == 1
        visited.append(int(moved[0]))
        g = Q @ before - B
        if order == "greedy":
            assert abs(g[moved[0]]) == pytest.approx(np.abs(g).max())
        assert abs((Q @ after - B)[moved[0]]) < 1e-5 * abs(g[moved[0]])
    if order == "cyclic":
        assert visited == [i % 6 for i in range(len(visited))]
    if order == "random":
        assert visited != [i % 6 for i in range(len(visited))]
        again = path_of(tfopt.CoordinateDescent(order=order, step=step, line_search="exact"), 60)
        np.testing.assert_array_equal(path, again)
        other = path_of(tfopt.CoordinateDescent(order=order, step=step, line_search="exact", seed=1), 60)
        assert not np.array_equal(path[: len(other)], other[: len(path)])


def test_slow_in_the_chapters_valley_where_newton_takes_one_step():
    alpha = 0.01
    valley = lambda x: (x[0] - x[1]) ** 2 + alpha * (x[0] ** 2 + x[1] ** 2)  # noqa: E731
    start = np.array([1.0, 1.0])
    slow = tfopt.minimize(valley, start, method="CoordinateDescent", tol=1e-6, max_evaluations=5000)
    fast = tfopt.minimize(valley, start, method="Newton", tol=1e-6)
    assert fast.iterations == 1
    assert slow.status is tfopt.Status.CONVERGED
    # A visit leaves 1/(1 + α) of the coordinate: the gradient falls from 2α to the tolerance in so many.
    expected = np.log(2 * alpha / 1e-6) / np.log(1 + alpha)
    assert slow.iterations == pytest.approx(expected, rel=0.1)


def test_coordinates_without_a_gradient_are_passed_over():
    only_the_third = lambda x: (x[2] - 1.0) ** 2  # noqa: E731
    end = tfopt.minimize(only_the_third, np.zeros(5), method="CoordinateDescent", tol=1e-9)
    assert (end.iterations, end.evaluations) == (1, 2)
    np.testing.assert_array_equal(end.x, [0, 0, 1, 0, 0])


def test_where_the_function_bends_down_it_goes_down_all_the_same():
    valleys = lambda x: x[0] ** 2 + 0.25 * x[1] ** 4 - 0.5 * x[1] ** 2  # noqa: E731
    end = tfopt.minimize(valleys, np.array([0.5, 0.1]), method="CoordinateDescent", tol=1e-9)
    np.testing.assert_allclose(np.abs(end.x), [0.0, 1.0], atol=1e-8)


def test_exact_conjugate_directions_on_a_quadratic():
    """As many iterations as dimensions, one trial each, dᵢᵀQdⱼ = 0."""
    method = tfopt.ConjugateGradient(beta="exact")
    path = path_of(method, 8)
    assert len(path) == 7
    np.testing.assert_allclose(path[-1], np.linalg.solve(Q, B), rtol=1e-8)
    directions = np.diff(path, axis=0)
    products = directions @ Q @ directions.T
    scale = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    assert np.abs(products - np.diag(np.diag(products))).max() < 1e-7 * scale.max()


def test_exact_beta_makes_directions_conjugate_whatever_the_search_left_over():
    """With a sloppy search consecutive directions still are conjugate to the Hessian at the iterate."""

    def bent(x):
        return quadratic(x) + 0.1 * tf.reduce_sum(x**4)

    path = path_of(
        tfopt.ConjugateGradient(beta="exact", line_search="backtracking", restart_every=100), 12, bent
    )
    steps = np.diff(path, axis=0)
    for x, before, after in zip(path[1:], steps, steps[1:], strict=False):
        hessian = Q + np.diag(1.2 * x**2)
        cosine = before @ hessian @ after / np.sqrt((before @ hessian @ before) * (after @ hessian @ after))
        assert abs(cosine) < 1e-6


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"order": "zigzag"}, "order"),
        ({"step": "exact"}, "step"),
        ({"seed": -1}, "seed"),
        ({"line_search": 3}, "line_search"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, part):
    with pytest.raises(ValueError, match=part):
        tfopt.CoordinateDescent(**options)
