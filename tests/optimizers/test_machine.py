"""Rules and machines are pure: no Keras, no variables; NumPy in, numbers out."""

import ast
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf

from tfopt.optimizers import _machine, _rule, adam, momentum
from tfopt.optimizers._machine import Context, Evaluation, RuleMachine

HYPER = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "epsilon_mode": "outside"}


def context(t, multipliers=(1.0,), learning_rate=0.1):
    return Context(tf.constant(t, tf.float64), tf.constant(learning_rate, tf.float64), multipliers)


def test_a_rule_is_a_function_of_scalars():
    rule = adam.rule(**HYPER)
    scalars = types.SimpleNamespace(
        **rule.scalars(tf.constant(1.0, tf.float64), tf.constant(0.1, tf.float64))
    )
    step, (m, v) = rule.update(np.float64(2.0), np.float64(1.0), (np.float64(0.0), np.float64(0.0)), scalars)
    np.testing.assert_allclose([step, m, v], [-0.1, 0.2, 0.004], rtol=1e-7)


def test_bias_correction_keeps_its_digits():
    """1 − 0.999ᵗ by subtraction in float32 would be off by 1e-5 at t = 1."""
    for t in (1, 10, 10_000):
        got = _rule.bias_correction(0.999, tf.constant(t, tf.float32))
        np.testing.assert_allclose(got, -np.expm1(t * np.log(0.999)), rtol=3e-7)
    assert float(_rule.bias_correction(0.0, tf.constant(3.0))) == 1.0


def test_a_machine_does_not_change_its_arguments():
    machine = RuleMachine(adam.rule(**HYPER))
    weights, state = [tf.ones(3)], {"momentum": [tf.zeros(3)], "velocity": [tf.zeros(3)]}
    moved, after = machine.step(Evaluation([tf.ones(3)]), weights, state, context(1))
    np.testing.assert_array_equal(weights[0], np.ones(3))
    np.testing.assert_array_equal(state["momentum"][0], np.zeros(3))
    np.testing.assert_allclose(moved[0], 0.9 * np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(after["momentum"][0], 0.1 * np.ones(3), rtol=1e-6)


def test_scalars_are_made_once_for_weights_that_share_them():
    calls = []

    def scalars(t, learning_rate):
        calls.append(1)
        return {"rate": learning_rate}

    weights = [tf.ones(1), tf.ones(2), tf.ones(1, tf.float64), tf.ones(1)]
    made = _machine.scalars_by_weight(scalars, context(1, (1.0, 1.0, 1.0, 0.5)), weights)
    assert len(calls) == 2
    assert made[0] is made[1]
    assert [(s.rate.dtype, round(float(s.rate), 6)) for s in made] == [
        (tf.float32, 0.1), (tf.float32, 0.1), (tf.float64, 0.1), (tf.float32, 0.05)
    ]  # fmt: skip


def test_momentum_schedule_counts_updates_from_zero():
    seen = [
        float(momentum.scalars(tf.constant(t, tf.float64), 1.0, lambda k: 0.1 * k)["momentum"])
        for t in (1.0, 2.0)
    ]
    np.testing.assert_allclose(seen, [0.0, 0.1], rtol=1e-6)


@pytest.mark.parametrize("module", [_rule, _machine])
def test_core_is_free_of_keras_internals_and_variables(module):
    tree = ast.parse(pathlib.Path(module.__file__).read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"Variable", "assign", "assign_add", "distribute"}
