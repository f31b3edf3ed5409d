"""Every line search on functions of one variable: what it accepts, and what it does where it cannot."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.line_search import Backtracking, Exact, Fixed, StrongWolfe
from tfopt.line_search._search import ACCEPTED, ENDLESS, FAILED, SEARCHING

PRECISION = float(np.finfo(np.float64).eps)


def barrier(a):
    return (-math.log(1 - a) - 3 * a, 1 / (1 - a) - 3) if a < 1 else (math.nan, math.nan)


# φ and φ′ with φ′(0) < 0; the first three are those of Moré and Thuente's tables 1 to 3.
FUNCTIONS = {
    "more_thuente_1": lambda a: (-a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2),
    "more_thuente_2": lambda a: (
        (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
        5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3,
    ),
    "parabola": lambda a: ((a - 3) ** 2, 2 * (a - 3)),
    "exponential": lambda a: (math.exp(min(a, 700)) - 5 * a, math.exp(min(a, 700)) - 5),
    "wave": lambda a: (math.cos(a + 1), -math.sin(a + 1)),
    "barrier": barrier,
}
EACH = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
FIRST = pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])


def search_along(search, function, first, most=60):
    """Final state and all trials."""
    state = search.begin(*map(tf.constant, map(np.float64, function(0.0))), np.float64(first), PRECISION)
    trials = []
    while float(state["verdict"]) == SEARCHING:
        trials.append(float(state["step"]))
        assert len(trials) <= most
        value, slope = function(trials[-1])
        state = search.advance(state, tf.constant(value, tf.float64), tf.constant(slope, tf.float64))
    return state, trials


def assert_wolfe(function, step, c1, c2):
    (value, slope), (start, steep) = function(step), function(0.0)
    assert value <= start + c1 * step * steep, f"φ(0) = {start}, φ({step}) = {value}, φ′(0) = {steep}"
    assert abs(slope) <= c2 * abs(steep), f"φ′(0) = {steep}, φ′({step}) = {slope}"


@EACH
@FIRST
@pytest.mark.parametrize("constants", [(1e-4, 0.9), (1e-3, 0.1)])
def test_strong_wolfe_accepts_what_satisfies_the_conditions(function, first, constants):
    state, trials = search_along(StrongWolfe(*constants), function, first)
    assert float(state["verdict"]) == ACCEPTED
    assert float(state["step"]) == trials[-1]
    assert_wolfe(function, trials[-1], *constants)


@pytest.mark.parametrize(
    ("name", "constants", "first", "evaluations"),
    [
        # From the tables of the paper, whose function numbers, c₁ and c₂ these are.
        ("more_thuente_1", (1e-3, 0.1), 1e-3, 6),
        ("more_thuente_1", (1e-3, 0.1), 1e-1, 3),
        ("more_thuente_1", (1e-3, 0.1), 1e1, 1),
        ("more_thuente_1", (1e-3, 0.1), 1e3, 4),
        ("more_thuente_2", (0.0999, 0.1), 1e-3, 12),
        ("more_thuente_2", (0.0999, 0.1), 1e-1, 8),
        ("more_thuente_2", (0.0999, 0.1), 1e1, 8),
        ("more_thuente_2", (0.0999, 0.1), 1e3, 11),
    ],
)
def test_strong_wolfe_needs_as_many_evaluations_as_its_paper_says(name, constants, first, evaluations):
    _, trials = search_along(StrongWolfe(*constants), FUNCTIONS[name], first)
    assert len(trials) <= evaluations


@EACH
@FIRST
def test_exact_ends_where_the_slope_vanishes(function, first):
    state, trials = search_along(Exact(), function, first)
    assert float(state["verdict"]) == ACCEPTED
    assert abs(function(trials[-1])[1]) <= 1e-6 * abs(function(0.0)[1])
    assert function(trials[-1])[0] < function(0.0)[0]


@FIRST
def test_exact_finds_a_parabola_s_minimum_with_one_secant(first):
    _, trials = search_along(Exact(), FUNCTIONS["parabola"], first)
    assert trials[-1] == pytest.approx(3.0, rel=1e-9)
    assert len(trials) <= 3


@EACH
@FIRST
def test_backtracking_decreases_enough_and_never_lengthens(function, first):
    state, trials = search_along(Backtracking(c1=0.1), function, first)
    assert float(state["verdict"]) == ACCEPTED
    assert function(trials[-1])[0] <= function(0.0)[0] + 0.1 * trials[-1] * function(0.0)[1] + 1e-12
    ratios = np.divide(trials[1:], trials[:-1])
    assert ((ratios > 0.0999) & (ratios <= 0.5)).all()


def test_fixed_takes_the_first_step_unless_it_is_not_finite():
    state, trials = search_along(Fixed(), FUNCTIONS["wave"], 7.0)
    assert (float(state["verdict"]), trials) == (ACCEPTED, [7.0])
    state, _ = search_along(Fixed(), barrier, 2.0)
    assert float(state["verdict"]) == FAILED


@pytest.mark.parametrize("search", [StrongWolfe(), Exact(), Backtracking()], ids=repr)
def test_no_trial_follows_at_or_beyond_one_that_was_not_finite(search):
    _, trials = search_along(search, barrier, 1e3)
    far = math.inf
    for trial in trials:
        assert trial < far
        if not math.isfinite(barrier(trial)[0]):
            far = min(far, trial)


@pytest.mark.parametrize("search", [StrongWolfe(), Exact()], ids=repr)
def test_a_line_without_end_is_named(search):
    state, trials = search_along(search, lambda a: (-a, -1.0), 1.0)
    assert float(state["verdict"]) == ENDLESS
    assert float(state["step"]) == trials[-1] == max(trials)


@pytest.mark.parametrize(
    "search", [StrongWolfe(max_trials=8), Exact(max_trials=8), Backtracking(max_trials=8)], ids=repr
)
def test_a_search_that_finds_nothing_better_fails(search):
    """The slope promises what the values never show."""
    state, trials = search_along(search, lambda a: (1.0 + a, -1.0 if a == 0 else 1.0), 1.0)
    assert float(state["verdict"]) == FAILED
    assert len(trials) <= 8


def test_a_search_out_of_trials_returns_to_the_best():
    """A slope that never flattens: Wolfe's second condition holds nowhere, the first at short steps."""

    def kinked(a):
        return abs(a - 1.0) * 2.0, -2.0 if a < 1.0 else 2.0

    state, trials = search_along(StrongWolfe(max_trials=5), kinked, 3.0)
    assert float(state["verdict"]) == ACCEPTED
    assert len(trials) == 6
    assert kinked(trials[-1])[0] == min(kinked(trial)[0] for trial in trials)


def test_approximate_conditions_end_a_search_among_rounding_errors():
    """Where values are flat to the last digit the slope alone decides."""

    def rounded(a):
        return 1.0, 1e-9 * (a - 1.0)

    state = StrongWolfe().begin(*map(np.float64, rounded(0.0)), np.float64(1.5), 1e-7)
    state = StrongWolfe().advance(state, *map(np.float64, rounded(1.5)))
    assert float(state["verdict"]) == ACCEPTED


@pytest.mark.parametrize(
    "search", [StrongWolfe(c2=0.3), Exact(1e-3), Backtracking(c1=0.2), Fixed()], ids=repr
)
def test_searches_survive_serialisation(search):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(search))
    assert repr(again) == repr(search)
    assert type(again) is type(search)


class Curved(Fixed):
    """A search that asks for what no method tells it."""

    needs = frozenset({"curvature"})


@pytest.mark.parametrize("search", [StrongWolfe(), Exact()], ids=repr)
@pytest.mark.parametrize("first", [1e-3, 1.0, 1e3])
def test_a_line_without_an_end_is_told_from_one_that_is_long(search, first):
    """Of a search that may try often enough to tell."""
    state, _ = search_along(search, lambda a: (-a, -1.0), first)
    assert float(state["verdict"]) == ENDLESS
    few = type(search)(max_trials=3)
    state, trials = search_along(few, lambda a: (-a, -1.0), first)
    assert float(state["verdict"]) == ACCEPTED
    assert (len(trials), float(state["step"])) == (3, max(trials))


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: StrongWolfe(c1=0.9), "c1"),
        (lambda: StrongWolfe(c1=0.1, c2=0.05), "c2"),
        (lambda: StrongWolfe(max_trials=0), "max_trials"),
        (lambda: Backtracking(c1=0.0), "c1"),
        (lambda: Backtracking(shrink=1.0), "shrink"),
        (lambda: Exact(tolerance=math.nan), "tolerance"),
        (lambda: tfopt.LBFGS(line_search="golden"), "line_search"),
        (lambda: tfopt.LBFGS(line_search=Curved()), "no more than slope, value"),
        (lambda: tfopt.LBFGS(line_search=None), "line_search"),
    ],
)
def test_bad_arguments_are_named(make, part):
    with pytest.raises(ValueError, match=part):
        make()
