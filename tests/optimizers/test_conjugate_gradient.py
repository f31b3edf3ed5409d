"""The direction of conjugate gradients alone; on functions it is tried in tests/test_minimize.py."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.optimizers._direction import Move
from tfopt.optimizers.conjugate_gradient import BETAS, Conjugate


def move(s, y, gradient, last_gradient, last_direction):
    s, y, g, last, d = (
        tf.constant(part, tf.float64) for part in (s, y, gradient, last_gradient, last_direction)
    )
    unknown = dict.fromkeys(("last_slope", "step", "learning_rate", "decrease"))
    products = tf.matmul(tf.stack([s, y]), tf.stack([y, g], axis=1))
    known = dict(s=s, y=y, gradient=g, last_gradient=last, last_direction=d)
    known |= dict(products=products, ss=tf.reduce_sum(s * s))
    return Move(
        **known,
        **unknown,
        precision=1e-16,
        **dict.fromkeys(("fresh", "changing", "void"), tf.constant(False)),
    )


@pytest.mark.parametrize("beta", BETAS)
def test_back_at_the_same_iterate_it_starts_again(beta):
    """There y is 0, and the formula of Fletcher and Reeves 1."""
    g, d = [1.0, -2.0], [-3.0, 1.0]
    rule = Conjugate(beta, restart_every=None)
    found, slots = rule.next(
        move([0.0, 0.0], [0.0, 0.0], g, g, d), {"since_restart": tf.constant(0.0, tf.float64)}
    )
    np.testing.assert_array_equal(found, [-1.0, 2.0])
    assert float(slots["since_restart"]) == 0.0


def test_it_starts_again_after_as_many_steps_as_asked():
    rule, since, directions = Conjugate("fletcher_reeves", restart_every=3), tf.constant(0.0, tf.float64), []
    for _ in range(7):
        # β = 4: the gradient doubles each time.
        found, slots = rule.next(
            move([1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.0, 1.0]), {"since_restart": since}
        )
        since = slots["since_restart"]
        directions.append(found.numpy().tolist())
    goes_on, again = [-2.0, 4.0], [-2.0, 0.0]
    assert directions == [goes_on, goes_on, again, goes_on, goes_on, again, goes_on]
