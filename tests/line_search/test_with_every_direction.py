"""Every line search with every direction, through `minimize`: it converges, crawls, leaves, or is refused."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import Status, line_search

SEARCHES = ("Fixed", "Backtracking", "StrongWolfe", "Exact")
METHODS = {
    "LBFGS": tfopt.LBFGS,
    "BFGS": tfopt.BFGS,
    "ConjugateGradient": tfopt.ConjugateGradient,
    "ConjugateGradient exact": functools.partial(tfopt.ConjugateGradient, beta="exact"),
    "SteepestDescent": tfopt.SteepestDescent,
    "Newton": tfopt.Newton,
    "Newton saddle_free": functools.partial(tfopt.Newton, solver="saddle_free"),
    "Newton eigh": functools.partial(tfopt.Newton, solver="eigh", damping=0.0),
    "NewtonCG": tfopt.NewtonCG,
    "CoordinateDescent": tfopt.CoordinateDescent,
    "CoordinateDescent line_search": functools.partial(tfopt.CoordinateDescent, step="line_search"),
}

CONVERGES = Status.CONVERGED
CRAWLS = Status.MAX_EVALUATIONS  # lower than the start, when 500 evaluations are spent
LEAVES = Status.STALLED  # for where the function is not finite
REFUSED = "expected 'fixed' with solver='eigh', whose direction need not lead down"

# On Rosenbrock's valley, in the order of SEARCHES. On a quadratic all of them converge but what is refused.
EXPECTED = {
    "LBFGS": (CONVERGES, CONVERGES, CONVERGES, CONVERGES),
    "BFGS": (CONVERGES, CONVERGES, CONVERGES, CONVERGES),
    "ConjugateGradient": (CRAWLS, CRAWLS, CONVERGES, CONVERGES),
    "ConjugateGradient exact": (LEAVES, CONVERGES, CONVERGES, CONVERGES),
    "SteepestDescent": (CRAWLS, CRAWLS, CRAWLS, CRAWLS),
    "Newton": (CONVERGES, CONVERGES, CONVERGES, CONVERGES),
    "Newton saddle_free": (CONVERGES, CONVERGES, CONVERGES, CONVERGES),
    "Newton eigh": (CONVERGES, REFUSED, REFUSED, REFUSED),
    "NewtonCG": (CONVERGES, CONVERGES, CONVERGES, CONVERGES),
    "CoordinateDescent": (CRAWLS, CRAWLS, CRAWLS, CRAWLS),
    "CoordinateDescent line_search": (CRAWLS, CRAWLS, CRAWLS, CRAWLS),
}
# Those whose step without a search is ε, which has to be shorter than 2 over the largest curvature.
UNSCALED = ("ConjugateGradient", "SteepestDescent", "CoordinateDescent line_search")

# Each search, and each way to come by a direction; the others take minutes.
QUICK = {
    ("BFGS", "Exact"),
    ("ConjugateGradient", "Backtracking"),
    ("SteepestDescent", "Fixed"),
    ("CoordinateDescent line_search", "StrongWolfe"),
    ("Newton", "Fixed"),
}
ROWS = [
    (method, search, row[place]) for method, row in EXPECTED.items() for place, search in enumerate(SEARCHES)
]
PAIRS = [
    pytest.param(*row, marks=() if row[:2] in QUICK else pytest.mark.slow, id=f"{row[0]}-{row[1]}")
    for row in ROWS
    if row[2] is not REFUSED
]

MATRIX = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.7]])


def quadratic(x):
    return 0.5 * tf.tensordot(x, tf.linalg.matvec(MATRIX, x), 1) - tf.reduce_sum(x)


def rosenbrock(x):
    return 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2


def run(function, start, method, search, step):
    rate = {"learning_rate": step} if search == "Fixed" and method in UNSCALED else {}
    made = METHODS[method](line_search=getattr(line_search, search)(), **rate)
    return tfopt.minimize(function, tf.constant(start, tf.float64), method=made, max_evaluations=500)


def test_the_table_has_every_search_and_every_direction():
    assert set(SEARCHES) == set(line_search.__all__)
    assert {name.split()[0] for name in METHODS} == set(tfopt.optimizers.DIRECTION_METHODS)
    assert list(EXPECTED) == list(METHODS)


@pytest.mark.parametrize(("method", "search", "expected"), PAIRS)
def test_in_a_curved_valley(method, search, expected):
    found = run(rosenbrock, [-1.2, 1.0], method, search, 1e-3)
    assert found.status is expected
    if expected is CONVERGES:
        np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-5)
    if expected is CRAWLS:
        assert found.fun < 5.0 < rosenbrock([-1.2, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "search", "expected"), PAIRS)
def test_on_a_strictly_convex_quadratic(method, search, expected):
    found = run(quadratic, [0.0, 0.0, 0.0], method, search, 0.3)
    assert found.status is Status.CONVERGED
    np.testing.assert_allclose(found.x, np.linalg.solve(MATRIX, np.ones(3)), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "search"), [row[:2] for row in ROWS if row[2] is REFUSED], ids=lambda name: name
)
def test_what_cannot_go_together_is_refused_at_construction(method, search):
    with pytest.raises(ValueError, match=REFUSED):
        METHODS[method](line_search=getattr(line_search, search)())


class Curved(line_search.Fixed):
    """A search that asks for what no method tells it."""

    needs = frozenset({"curvature"})


@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_needs_more_than_is_known_is_refused_by_every_direction(method):
    with pytest.raises(ValueError, match="one that needs no more than slope, value"):
        METHODS[method](line_search=Curved())
