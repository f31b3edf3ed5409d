"""Nonlinear conjugate gradients."""

import keras
import tensorflow as tf

from tfopt._check import require_choice, require_integer, require_not_negative
from tfopt.line_search._named import line_search_of
from tfopt.line_search._search import choose
from tfopt.optimizers._descent import DescentMachine
from tfopt.optimizers._direction import Direction
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._exact_conjugate import ExactlyConjugate
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._vectors import dot, scaled


def fletcher_reeves(m):
    """gᵀg / ḡᵀḡ."""
    return dot(m.gradient, m.gradient) / dot(m.last_gradient, m.last_gradient)


def polak_ribiere(m):
    """gᵀy / ḡᵀḡ."""
    return m.gy / dot(m.last_gradient, m.last_gradient)


def polak_ribiere_plus(m):
    """The positive part of it."""
    return tf.maximum(polak_ribiere(m), 0.0)


def hestenes_stiefel(m):
    """gᵀy / dᵀy."""
    return m.gy / dot(m.last_direction, m.y)


def dai_yuan(m):
    """gᵀg / dᵀy."""
    return dot(m.gradient, m.gradient) / dot(m.last_direction, m.y)


def hager_zhang(m):
    """(y − 2d yᵀy/dᵀy)ᵀg / dᵀy, not below −1/(‖d‖ min(0.01, ‖ḡ‖))."""
    dy = dot(m.last_direction, m.y)
    beta = (m.gy - 2.0 * dot(m.last_direction, m.gradient) * m.yy / dy) / dy
    last = tf.sqrt(dot(m.last_gradient, m.last_gradient))
    length = tf.sqrt(dot(m.last_direction, m.last_direction))
    return tf.maximum(beta, -1.0 / (length * tf.minimum(last, 0.01)))


BETAS = {
    rule.__name__: rule
    for rule in (
        fletcher_reeves,
        polak_ribiere,
        polak_ribiere_plus,
        hestenes_stiefel,
        dai_yuan,
        hager_zhang,
    )
}


class Conjugate(Direction):
    """d ← −g + βd, from −g again after `restart_every` steps or where d would not lead down."""

    slots = (Slot("since_restart", scalar=True),)

    def __init__(self, beta, restart_every):
        self.beta, self.restart_every = BETAS[beta], restart_every

    def keep(self, state):
        return {"since_restart": state["since_restart"]}

    def reset(self, state):
        return {"since_restart": tf.zeros_like(state["since_restart"])}

    def next(self, move, state):
        """The next direction, conjugate to the last where the function is quadratic."""
        since = state["since_restart"] + 1.0
        period = self.restart_every or move.gradient.shape[0]
        beta = self.beta(move)
        # Back at the same iterate nothing was learned, and y = 0 would make some of the formulas 1.
        moved = move.ss > 0.0
        good = tf.math.is_finite(beta) & moved & ~move.fresh & (since < period)
        d = scaled(choose(good, beta, 0.0), move.last_direction) - move.gradient
        return d, {"since_restart": choose(good, since, 0.0)}


def _search_of(given, beta):
    close = beta in ("fletcher_reeves", "dai_yuan", "hager_zhang")
    return line_search_of("ConjugateGradient", given, c2=0.1 if close else 0.4)


@keras.saving.register_keras_serializable(package="tfopt")
class ConjugateGradient(DirectionOptimizer):
    """Nonlinear conjugate gradients: each direction keeps what the last one gained.

    With g = ∇J(θ), ḡ and d the last gradient and direction, y = g − ḡ::

        d ← −g + β d
        θ ← θ + α d        α from the line search

        β = gᵀg / ḡᵀḡ                           "fletcher_reeves"
        β = gᵀy / ḡᵀḡ                           "polak_ribiere", its positive part "polak_ribiere_plus"
        β = gᵀy / dᵀy                           "hestenes_stiefel"
        β = gᵀg / dᵀy                           "dai_yuan"
        β = (y − 2d yᵀy / dᵀy)ᵀ g / dᵀy         "hager_zhang", bounded from below
        β = dᵀHg / dᵀHd                         "exact", H = ∇²J(θ) by exact Hessian products

    "exact" makes consecutive directions conjugate with respect to the Hessian at hand, whatever the search
    left over, and its second product gives the first trial −gᵀd / dᵀHd; each of the two costs about as much
    as two gradients, and in `fit` comes as said at `tfopt.NewtonCG`. On a quadratic in n dimensions with
    `line_search="exact"` all of them end after n steps, with directions that are conjugate. Starts again from
    −g after `restart_every` steps, and wherever d would not lead down. Each train step is one evaluation;
    what is said at `tfopt.LBFGS` on batches holds here too. Memory: 3 vectors of the size of all weights,
    with "exact" 4; with `gradient_accumulation_steps` one more, with "exact" two.

    Args:
        learning_rate: Length of the very first trial step; later ones follow from the last step taken. With
            "fixed" the step α itself, but for "exact", which has its own.
        beta: The formula of β.
        restart_every: Steps between restarts; None for the number of weights.
        line_search: "strong_wolfe" (with c₂ = 0.4, or 0.1 for the formulas of β that only descend
            after a close search: those of Fletcher and Reeves, Dai and Yuan, Hager and Zhang),
            "backtracking", "exact", "fixed", or a search of `tfopt.line_search`.
        tolerance: Largest |∂J/∂θᵢ| at which the method stands still; units of the loss per unit of weight.
        **options: Options of every tfopt optimizer but those that would change the function behind the
            search's back: `weight_decay`, clipping, `learning_rate_multipliers`, `use_ema`; see
            `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range; in `fit` with "exact", if the model runs eagerly.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> bowl = lambda x: 3 * x[0] ** 2 + 2 * x[0] * x[1] + x[1] ** 2 - x[0]
        >>> method = tfopt.ConjugateGradient(line_search="exact")
        >>> tfopt.minimize(bowl, tf.zeros(2, tf.float64), method=method).iterations
        2

    Source: Hager and Zhang, A Survey of Nonlinear Conjugate Gradient Methods, 2006; chapter section 7.2.
    """

    def __init__(
        self,
        learning_rate=1.0,
        beta="polak_ribiere",
        restart_every=None,
        line_search="strong_wolfe",
        tolerance=0.0,
        **options,
    ):
        require_choice("ConjugateGradient", (*BETAS, "exact"), beta=beta)
        if restart_every is not None:
            require_integer("ConjugateGradient", 1, restart_every=restart_every)
        require_not_negative("ConjugateGradient", tolerance=tolerance)
        _search_of(line_search, beta)
        hyper = dict(beta=beta, restart_every=restart_every, line_search=line_search, tolerance=tolerance)
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, *, beta, restart_every, line_search, tolerance):
        """The pure machine behind this optimizer."""
        search = _search_of(line_search, beta)
        exact = beta == "exact"
        direction = ExactlyConjugate(restart_every) if exact else Conjugate(beta, restart_every)
        return DescentMachine(direction, search, tolerance)
