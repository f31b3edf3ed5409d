"""Lanczos, density, condition number and classification against numpy.linalg.eigvalsh and known functions."""

import itertools
import math
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfopt.curvature import (
    classify_critical_point,
    condition_number,
    hessian_operator,
    lanczos_spectrum,
    spectral_density,
)


def symmetric(values, seed=0):
    """A dense matrix with these eigenvalues in random directions."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return basis @ np.diag(values) @ basis.T


def spread(size=200, seed=0):
    """Eigenvalues as networks have them: many small, some large, some negative."""
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.normal(0, 0.1, size - 6), [-3.0, -2.0, 5.0, 8.0, 20.0, 30.0]]))


class Counted:
    """A matrix that counts its products."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.dtype, self.count = matrix, matrix.shape, matrix.dtype, 0

    def __matmul__(self, vector):
        self.count += 1
        return self.matrix @ vector


# -- Lanczos --------------------------------------------------------------------------------------------


def test_extremes_are_those_of_the_dense_matrix():
    matrix = Counted(symmetric(spread()))
    expected = np.linalg.eigvalsh(matrix.matrix)
    found = lanczos_spectrum(matrix, steps=60)
    assert matrix.count == 60
    assert not found.is_complete
    assert found.largest == pytest.approx(expected[-1], rel=1e-12)
    assert found.smallest == pytest.approx(expected[0], rel=1e-12)
    assert found.largest_residual < 1e-6
    assert found.smallest_residual < 1e-6


@pytest.mark.parametrize("steps", [1, 5, 15, 40])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_there_is_an_eigenvalue_within_each_residual(steps, seed):
    matrix = symmetric(spread())
    expected = np.linalg.eigvalsh(matrix)
    found = lanczos_spectrum(matrix, steps, seed)
    nearest = np.abs(found.values[:, None] - expected).min(1)
    assert (nearest <= found.residuals + 1e-12).all()
    assert found.weights.sum() == pytest.approx(1.0, rel=1e-12)
    assert expected[0] - 1e-12 <= found.smallest <= found.largest <= expected[-1] + 1e-12


def test_no_copies_of_converged_eigenvalues_appear():
    """Without reorthogonalisation the isolated 1e4 comes back after some tens of steps."""
    values = np.concatenate([np.linspace(0, 1, 149), [1e4]])
    found = lanczos_spectrum(symmetric(values), steps=120)
    assert (found.values > 2).sum() == 1
    assert found.values[-1] == pytest.approx(1e4, rel=1e-12)


@pytest.mark.parametrize(
    "values",
    [np.repeat([-1.0, 0.0, 3.0], 5), np.zeros(4), np.ones(7), np.arange(9.0), np.array([2.5])],
    ids=str,
)
def test_all_steps_give_all_eigenvalues_with_their_multiplicity(values):
    found = lanczos_spectrum(symmetric(values), steps=1000)
    assert found.is_complete
    np.testing.assert_allclose(found.values, values, atol=1e-12)
    np.testing.assert_allclose(found.residuals, 0.0, atol=1e-12)


def test_weights_integrate_polynomials_of_the_start_exactly():
    """Up to degree 2k − 1: Gauss quadrature. The start is drawn here as the function draws it."""
    matrix = symmetric(spread(40))
    found = lanczos_spectrum(matrix, steps=5, seed=3)
    start = np.random.default_rng(3).normal(size=40)
    start /= np.linalg.norm(start)
    for degree in range(10):
        expected = start @ np.linalg.matrix_power(matrix, degree) @ start
        assert found.weights @ found.values**degree == pytest.approx(expected, rel=1e-9)


def test_seeds_repeat_and_differ():
    matrix = symmetric(spread())
    one, same, other = (lanczos_spectrum(matrix, 10, seed).values for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_single_precision_products_bring_single_precision_extremes():
    matrix = symmetric(spread())
    found = lanczos_spectrum(matrix.astype("float32"), steps=80)
    assert found.values.dtype == np.float64
    assert found.largest == pytest.approx(30.0, rel=1e-5)
    assert found.smallest == pytest.approx(-3.0, rel=1e-5)


def test_the_spectrum_of_a_network_s_hessian(network):
    problem = network("mlp")
    operator = hessian_operator(problem.model, problem.x, problem.y)
    expected = np.linalg.eigvalsh(problem.hessian())
    found = lanczos_spectrum(operator, steps=30)
    assert found.largest == pytest.approx(expected[-1], rel=1e-6)
    assert found.smallest == pytest.approx(expected[0], rel=1e-6)


# -- Density --------------------------------------------------------------------------------------------


def test_moments_agree_with_traces_within_their_standard_error():
    matrix = symmetric(spread())
    density = spectral_density(matrix, probes=30, steps=20)
    size = len(matrix)
    for order in (1, 2, 3):
        power = np.linalg.matrix_power(matrix, order)
        mean = np.trace(power) / size
        # Of xᵀMx for x uniform on the sphere.
        variance = 2 / (size + 2) * (np.sum(power**2) / size - mean**2) / 30
        assert abs(density.moment(order) - mean) < 4 * math.sqrt(variance)
        # The bound means something: it is well below the moment itself or the spread of the eigenvalues.
        assert 4 * math.sqrt(variance) < np.sqrt(np.sum(power**2) / size)


def test_the_density_integrates_to_shares_of_eigenvalues():
    values = np.repeat([-1.0, 0.0, 4.0], [50, 100, 50])
    density = spectral_density(symmetric(values), probes=100, steps=10, width=0.05)
    step = density.grid[1] - density.grid[0]
    for centre, share in ((-1.0, 0.25), (0.0, 0.5), (4.0, 0.25)):
        near = np.abs(density.grid - centre) < 0.4
        assert density.density[near].sum() * step == pytest.approx(share, abs=0.02)
    assert density.density.sum() * step == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 3.0)], ids=str)
def test_one_eigenvalue_alone_has_a_density_too(values):
    density = spectral_density(np.diag(values))
    assert np.isfinite(density.density).all()
    assert np.trapezoid(density.density, density.grid) == pytest.approx(1.0, abs=1e-3)


def test_the_figure_shows_the_density():
    density = spectral_density(symmetric(spread()), probes=3, steps=20)
    figure = density.plot()
    (axes,) = figure.axes
    drawn = axes.lines[0].get_xydata()
    np.testing.assert_array_equal(drawn, np.stack([density.grid, density.density], axis=1))
    assert axes.get_yscale() == "log"
    figure.canvas.draw()


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    density = spectral_density(np.eye(3))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"tfopt\[compare\]"):
        density.plot()


# -- Condition number -----------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
def test_condition_of_a_known_quadratic(jit_compile):
    curvatures = tf.constant([0.5, 2.0, 3.0, 400.0], tf.float64)
    operator = hessian_operator(
        lambda x: tf.reduce_sum(curvatures * x**2) / 2, tf.ones(4, tf.float64), jit_compile=jit_compile
    )
    found = condition_number(operator)
    assert found == pytest.approx((800.0, 400.0, 0.5, 800.0), rel=1e-10)


def test_condition_is_approached_from_below_and_bounded_from_above():
    matrix = symmetric(np.linspace(1.0, 500.0, 100))
    seen = [condition_number(matrix, steps) for steps in (5, 20, 60, 100)]
    values = [found.value for found in seen]
    assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(values))
    assert all(found.value <= 500.0 * (1 + 1e-9) for found in seen)
    assert all(found.bound >= 500.0 * (1 - 1e-9) for found in seen)
    assert values[-1] == pytest.approx(500.0, rel=1e-9)
    assert values[0] < 400


def test_condition_of_indefinite_and_singular_matrices():
    assert condition_number(symmetric([-8.0, 2.0, 4.0])).value == pytest.approx(4.0)
    assert condition_number(symmetric([0.0, 2.0, 4.0])).value == math.inf
    assert condition_number(np.zeros((3, 3))).value == math.inf


# -- Classification -------------------------------------------------------------------------------------

KNOWN = {
    "bowl": (lambda x: x[0] ** 2 + 3 * x[1] ** 2, "MINIMUM", 0, 0),
    "hill": (lambda x: -(x[0] ** 2) - 3 * x[1] ** 2, "MAXIMUM", 2, 0),
    "saddle": (lambda x: x[0] ** 2 - x[1] ** 2, "SADDLE", 1, 0),
    "hidden saddle": (lambda x: x[0] * x[1], "SADDLE", 1, 0),
    "monkey saddle": (lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, "FLAT", 0, 2),
    "quartic valley": (lambda x: x[0] ** 2 + x[1] ** 4, "FLAT", 0, 1),
    "ridge": (lambda x: -(x[0] ** 2), "FLAT", 1, 1),
    "constant": (lambda x: 0 * x[0], "FLAT", 0, 2),
}


@pytest.mark.parametrize(("function", "kind", "negative", "vanishing"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_known_points(function, kind, negative, vanishing, jit_compile):
    operator = hessian_operator(function, tf.zeros(2), jit_compile=jit_compile)
    found = classify_critical_point(operator)
    assert (found.kind.name, found.negative, found.vanishing) == (kind, negative, vanishing)
    assert (found.exact, found.certain, found.gradient_norm) == (True, True, 0.0)
    assert found.sentence.startswith(found.kind.value)


def test_the_sentence_says_what_second_derivatives_do_say():
    say = lambda f: classify_critical_point(hessian_operator(f, tf.zeros(2))).sentence  # noqa: E731
    assert say(KNOWN["quartic valley"][0]).endswith("To second order no direction leads down.")
    assert say(KNOWN["ridge"][0]).endswith("To second order no direction leads up.")
    assert say(KNOWN["monkey saddle"][0]).endswith("No direction is curved.")


def test_a_slope_is_no_critical_point():
    operator = hessian_operator(lambda x: x[0] ** 2 + 1e-3 * x[1], tf.zeros(2))
    found = classify_critical_point(operator)
    assert found.kind.name == "NOT_CRITICAL"
    assert found.gradient_norm == pytest.approx(1e-3)
    assert classify_critical_point(operator, tol=1e-2).kind.name != "NOT_CRITICAL"
    assert classify_critical_point(operator, gradient=[0.0, 0.0]).kind.name == "FLAT"


def test_curvatures_within_the_tolerance_count_as_none():
    matrix, rest = np.diag([1.0, -1e-3]), np.zeros(2)
    assert classify_critical_point(matrix, rest).kind.name == "SADDLE"
    assert classify_critical_point(matrix, rest, curvature_tol=1e-2).kind.name == "FLAT"
    assert classify_critical_point(np.diag([1.0, -5e-5]), rest).kind.name == "FLAT"


def test_the_index_of_a_large_saddle_is_estimated():
    values = np.concatenate([np.linspace(-2, -1, 60), np.linspace(1, 3, 240)])
    found = classify_critical_point(symmetric(values), np.zeros(300), steps=40, probes=8)
    assert (found.kind.name, found.exact, found.certain) == ("SADDLE", False, True)
    # Standard error √(2 · 0.2 · 0.8 · 300 / 8) = 3.5.
    assert abs(found.negative - 60) < 14
    assert "about" in found.sentence


def test_one_direction_down_among_many_is_found():
    values = np.concatenate([[-0.5], np.linspace(1, 3, 299)])
    found = classify_critical_point(symmetric(values), np.zeros(300), steps=40)
    assert found.kind.name == "SADDLE"
    assert found.negative >= 1


def test_a_large_minimum_is_likely_only():
    found = classify_critical_point(symmetric(np.linspace(1, 3, 300)), np.zeros(300), steps=40)
    assert (found.kind.name, found.certain, found.negative, found.vanishing) == ("MINIMUM", False, 0, 0)


# -- Bad input ------------------------------------------------------------------------------------------

EYE = np.eye(3)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: lanczos_spectrum(np.ones((2, 3))), "square"),
        (lambda: lanczos_spectrum(np.eye(3, dtype=int)), "real"),
        (lambda: lanczos_spectrum(np.zeros((0, 0))), "square"),
        (lambda: lanczos_spectrum("matrix"), "operator"),
        (lambda: lanczos_spectrum(EYE, steps=0), "steps=0"),
        (lambda: lanczos_spectrum(EYE, steps=True), "steps=True"),
        (lambda: lanczos_spectrum(EYE, seed=-1), "seed=-1"),
        (lambda: lanczos_spectrum(EYE, seed=None), "seed=None"),
        (lambda: lanczos_spectrum(EYE * np.nan), "finite"),
        (lambda: spectral_density(EYE, probes=0), "probes=0"),
        (lambda: spectral_density(EYE, width=0.0), "width=0.0"),
        (lambda: spectral_density(EYE, points=1), "points=1"),
        (lambda: condition_number(EYE, steps=-1), "steps=-1"),
        (lambda: classify_critical_point(EYE), "gradient=None"),
        (lambda: classify_critical_point(EYE, np.ones(2)), "gradient"),
        (lambda: classify_critical_point(EYE, np.full(3, np.nan)), "gradient"),
        (lambda: classify_critical_point(EYE, np.ones(3), tol=-1.0), "tol=-1.0"),
        (lambda: classify_critical_point(EYE, np.ones(3), curvature_tol=math.nan), "curvature_tol"),
        (lambda: classify_critical_point(EYE, np.ones(3), probes=0), "probes=0"),
    ],
)
def test_bad_arguments_are_named(call, part):
    with pytest.raises(ValueError, match=part):
        call()
