"""Pairs (s, y) without positive curvature stay out of BFGS and L-BFGS: the machines, driven by hand."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.minimize import written
from tfopt.optimizers._machine import Context, Evaluation

METHODS = {"LBFGS": tfopt.LBFGS, "BFGS": tfopt.BFGS}


def basin(x):
    """Convex along the second axis, along the first concave for |x₁| > 1."""
    return tf.math.log1p(x[0] ** 2) + 2.0 * x[1] ** 2


def accepted(machine, start, evaluations):
    """The state after each iterate accepted, as arrays."""
    point = [tf.constant(start, tf.float64)]
    state = {slot.name: slot.value(len(start), tf.float64) for slot in machine.slots}
    seen = []
    for t in range(evaluations):
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = basin(*point)
        evaluation = Evaluation(tape.gradient(value, point), value)
        now = Context(tf.constant(t + 1.0, tf.float64), tf.constant(1.0, tf.float64), (1.0,), precision=1e-16)
        point, new = machine.step(evaluation, point, state, now)
        state = {name: written(state[name], value) for name, value in new.items()}
        if float(state["iterations"]) == len(seen):
            seen.append({name: value.numpy() for name, value in state.items()})
    return seen


@pytest.mark.parametrize("name", METHODS)
def test_the_memory_keeps_positive_curvature_only(name):
    states = accepted(METHODS[name](line_search="backtracking").machine, [6.0, 1.0], 24)
    s, y = (np.diff([state[part] for state in states], axis=0) for part in ("iterate", "gradient"))
    fits = (s * y).sum(1) > 0
    first_left_out = np.argmin(fits)
    assert 0 < first_left_out < len(fits) - 1
    assert fits[first_left_out:].any()
    np.testing.assert_array_equal([state["pairs"] for state in states], [0, *np.cumsum(fits)])
    for state in states:
        if state["pairs"]:
            assert smallest_curvature(name, state) > 0.0


def smallest_curvature(name, state):
    """The smallest eigenvalue of M, or the smallest sᵀy in the history."""
    if name == "BFGS":
        return np.linalg.eigvalsh(state["inverse_hessian"])[0]
    return np.diag(state["steps_by_changes"])[: int(state["pairs"])].min()
