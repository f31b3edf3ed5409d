"""BFGS: quasi-Newton with a dense estimate of the inverse Hessian."""

import keras
import tensorflow as tf

from tfopt._check import require_integer, require_not_negative
from tfopt.line_search._named import line_search_of
from tfopt.line_search._search import choose
from tfopt.optimizers._descent import DescentMachine
from tfopt.optimizers._direction import Direction
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._vectors import dot


class InverseHessian(Direction):
    """d = −Mg with M the BFGS estimate of H⁻¹, an n × n matrix."""

    natural = True
    slots = (Slot("inverse_hessian", shape=lambda n: (n, n)), Slot("pairs", scalar=True))

    def __init__(self, max_parameters):
        self.max_parameters = max_parameters

    def admit(self, size, dtype):
        """Refuse what would need too large a matrix."""
        if size > self.max_parameters:
            raise ValueError(
                f"BFGS(max_parameters={self.max_parameters}): expected at most so many weights, got {size}, "
                f"whose matrix takes {size**2 * dtype.size / 1e9:.1f} GB; LBFGS needs no matrix."
            )

    def keep(self, state):
        return {name: state[name] for name in ("inverse_hessian", "pairs")}

    def reset(self, state):
        return self.keep(state) | {"pairs": tf.zeros_like(state["pairs"])}

    def next(self, move, state):
        """M after the newest pair, unless its curvature sᵀy is not clearly positive; M = I without any."""
        g, sy = move.gradient, move.sy
        fits = ~move.fresh & (sy > 1e-10 * tf.sqrt(move.ss * move.yy))
        pairs = choose(move.fresh, 0.0, state["pairs"])
        identity = tf.eye(g.shape[0], dtype=g.dtype)
        # Before the first pair M is I; the first pair tells its scale.
        scale = choose(fits & tf.equal(pairs, 0.0), sy / move.yy, 1.0)
        old = tf.where(tf.equal(pairs, 0.0), tf.cast(scale, g.dtype) * identity, state["inverse_hessian"])
        m = tf.where(fits, updated(old, move.s, move.y, sy), old)
        d = -tf.linalg.matvec(m, g)
        return d, {"inverse_hessian": m, "pairs": pairs + tf.cast(fits, tf.float64)}


def updated(m, s, y, sy):
    """M ← (I − sy/sᵀy) M (I − ysᵀ/sᵀy) + ssᵀ/sᵀy for a symmetric M."""
    my = tf.linalg.matvec(m, y)
    factor, sy = tf.cast(1.0 + dot(y, my) / sy, s.dtype), tf.cast(sy, s.dtype)
    cross = s[:, None] * my[None, :]
    return m + (factor * s[:, None] * s[None, :] - cross - tf.transpose(cross)) / sy


@keras.saving.register_keras_serializable(package="tfopt")
class BFGS(DirectionOptimizer):
    """BFGS: a quasi-Newton method that builds up the inverse Hessian from the changes of the gradient.

    With s = θₖ₊₁ − θₖ, y = ∇J(θₖ₊₁) − ∇J(θₖ), ρ = 1/sᵀy, and M = I at the start (scaled by sᵀy/yᵀy before the
    first pair goes in)::

        M ← (I − ρ s yᵀ) M (I − ρ y sᵀ) + ρ s sᵀ
        d = −M ∇J(θ)
        θ ← θ + α d        α from the line search

    The chapter's lines lack the minus sign of d. Pairs whose sᵀy is not clearly positive are left out, so
    that M stays positive definite. Each train step is one evaluation; what is said at `tfopt.LBFGS` on
    batches holds here too. Memory for n weights: n² + 3n numbers, with `gradient_accumulation_steps` n more;
    time of a step in the order of n². Above `max_parameters` the optimizer refuses and names `LBFGS`.

    Args:
        learning_rate: First trial of each search in units of the quasi-Newton step.
        max_parameters: Largest n.
        line_search: "strong_wolfe", "backtracking", "exact", "fixed", or a search of `tfopt.line_search`.
        tolerance: Largest |∂J/∂θᵢ| at which the method stands still; units of the loss per unit of weight.
        **options: Options of every tfopt optimizer but those that would change the function behind the
            search's back: `weight_decay`, clipping, `learning_rate_multipliers`, `use_ema`; see
            `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> found = tfopt.minimize(lambda x: tf.reduce_sum((x - [1.0, 2.0]) ** 2), tf.zeros(2), method="BFGS")
        >>> found.x.numpy().round(4).tolist()
        [1.0, 2.0]

    Source: Nocedal and Wright, Numerical Optimization, 2006, algorithm 6.1 and equation 6.20; chapter section
    6.2.
    """

    def __init__(
        self, learning_rate=1.0, line_search="strong_wolfe", max_parameters=5000, tolerance=0.0, **options
    ):
        require_integer("BFGS", 1, max_parameters=max_parameters)
        require_not_negative("BFGS", tolerance=tolerance)
        line_search_of("BFGS", line_search)
        hyper = dict(line_search=line_search, max_parameters=max_parameters, tolerance=tolerance)
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, *, line_search, max_parameters, tolerance):
        """The pure machine behind this optimizer."""
        search = line_search_of("BFGS", line_search)
        return DescentMachine(InverseHessian(max_parameters), search, tolerance)
