"""Conjugate directions by products with the Hessian instead of changes of the gradient."""

import tensorflow as tf

from tfopt.line_search._search import choose, double
from tfopt.optimizers._direction import CurvedDirection
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._vectors import dot, scaled

_BETA, _STEP, _DONE = 0.0, 1.0, 2.0  # values of the scalar "stage": what the next product is for


class ExactlyConjugate(CurvedDirection):
    """d ← −g + βd with β = d̄ᵀHg / d̄ᵀHd̄, and −gᵀd / dᵀHd as the step to try first.

    H is that of the new iterate. Two products per iteration, one after a restart.
    """

    slots = (
        Slot("conjugate", shape=lambda n: (n,)),
        *(Slot(name, scalar=True) for name in ("since_restart", "stage", "bend")),
    )

    def __init__(self, restart_every):
        self.restart_every = restart_every

    def begin(self, move, state):
        """Ask for Hd̄, or on a fresh start for Hg."""
        since = state["since_restart"] + 1.0
        period = self.restart_every or move.gradient.shape[0]
        restarts = move.fresh | (since >= period)
        return {
            "conjugate": tf.where(restarts, -move.gradient, move.last_direction),
            "since_restart": choose(restarts, 0.0, since),
            "stage": choose(restarts, _STEP, _BETA),
            "bend": double(0.0),
        }

    def asks(self, state):
        return state["stage"] < _DONE

    def probe(self, state):
        return state["conjugate"]

    def absorb(self, answer, state):
        """After Hd̄ the new direction, after Hd its curvature."""
        last, g = state["conjugate"], state["gradient"]
        bend = dot(last, answer)
        beta = dot(g, answer) / bend
        good = tf.math.is_finite(beta)
        turned = scaled(choose(good, beta, 0.0), last) - g
        finds_beta = tf.equal(state["stage"], _BETA)
        return {
            "conjugate": tf.where(finds_beta, turned, last),
            "since_restart": choose(finds_beta & ~good, 0.0, state["since_restart"]),
            "stage": state["stage"] + 1.0,
            "bend": bend,
        }

    def direction(self, state):
        return state["conjugate"]

    def trial(self, state, slope):
        """The minimum along d of the quadratic with this slope and curvature; a unit step without one."""
        d = state["conjugate"]
        unit = tf.minimum(1.0 / tf.sqrt(dot(d, d)), 1.0)
        return choose(state["bend"] > 0.0, -slope / state["bend"], unit)

    def reset(self, state):
        return self.keep(state) | {"since_restart": double(0.0)}
