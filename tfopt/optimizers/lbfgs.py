"""L-BFGS: quasi-Newton with limited memory."""

import keras
import tensorflow as tf

from tfopt._check import require_choice, require_integer, require_not_negative
from tfopt.line_search._named import line_search_of
from tfopt.line_search._search import choose
from tfopt.optimizers._descent import DescentMachine
from tfopt.optimizers._direction import Direction, Heading
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._machine import Row, Slot
from tfopt.optimizers._vectors import descent


class LimitedMemory(Direction):
    """d = −Hg, with H built from the last m pairs (s, y) by the compact form of BFGS.

    With S = [s₁ … sₘ] and Y = [y₁ … yₘ] in order of time, R the upper triangle of SᵀY, D its diagonal::

        H = γI + [S  γY] [ R⁻ᵀ(D + γYᵀY)R⁻¹   −R⁻ᵀ ] [ Sᵀ  ]
                         [ −R⁻¹                 0   ] [ γYᵀ ]

    Pairs lie in a ring of m rows; what the products need of each other is kept in two m × m matrices, so that
    an iteration reads S and Y twice.
    """

    natural = True

    def __init__(self, history, scale):
        self.history, self.scale = history, scale
        pairs, small = (lambda n: (history, n)), (lambda n: (history, history))
        self.slots = (
            Slot("steps", shape=pairs, by_rows=True),
            Slot("changes", shape=pairs, by_rows=True),
            Slot("steps_by_changes", shape=small, double=True),
            Slot("changes_by_changes", shape=small, double=True),
            Slot("pairs", scalar=True),  # number of pairs so far; the oldest are overwritten
            Slot("first_scale", 1.0, scalar=True),
        )

    def keep(self, state):
        none = Row(tf.constant(-1), state["direction"])
        kept = ("steps_by_changes", "changes_by_changes", "pairs", "first_scale")
        return {"steps": none, "changes": none} | {name: state[name] for name in kept}

    def reset(self, state):
        return self.keep(state) | {"pairs": tf.zeros_like(state["pairs"])}

    def rows(self, state):
        return [state["steps"], state["changes"]]

    def next(self, move, state):
        """d = −Hg with the newest pair in H, unless its curvature sᵀy is not clearly positive."""
        pairs = choose(move.fresh, 0.0, state["pairs"])
        index = tf.cast(pairs, tf.int32) % self.history
        of_steps, of_changes, of_s, of_y = tf.split(move.products, [self.history, self.history, 1, 1])
        sy, yy = of_s[0, 0], of_y[0, 0]
        fits = ~move.fresh & (sy > 1e-10 * tf.sqrt(move.ss * yy))
        pairs = pairs + tf.cast(fits, tf.float64)
        # The newest pair is not among the rows yet.
        newest = _is_row(index, self.history)[:, None] & fits
        of_steps, of_changes = choose(newest, of_s, of_steps), choose(newest, of_y, of_changes)
        slots = {
            "steps": Row(tf.where(fits, index, -1), move.s),
            "changes": Row(tf.where(fits, index, -1), move.y),
            "steps_by_changes": _with_column(state["steps_by_changes"], of_steps[:, 0], index, fits),
            "changes_by_changes": _with_cross(state["changes_by_changes"], of_changes[:, 0], index, fits),
            "pairs": pairs,
            "first_scale": choose(fits & tf.equal(pairs, 1.0), sy / yy, state["first_scale"]),
        }
        gamma = self._gamma(slots, index)
        a, b = self._coefficients(gamma, slots, of_steps[:, 1], of_changes[:, 1])
        return self._assemble(gamma, a, b, move, state, index, fits), slots

    def _gamma(self, slots, newest):
        """γ: the inverse curvature along the newest change of the gradient, or along the first."""
        if self.scale == "first":
            return choose(slots["pairs"] > 0.0, slots["first_scale"], 1.0)
        # A pair that did not fit leaves its place empty; the newest is the one before.
        place = tf.cast(slots["pairs"] - 1.0, tf.int32) % self.history
        diagonals = (tf.linalg.diag_part(slots[n]) for n in ("steps_by_changes", "changes_by_changes"))
        sy, yy = (tf.gather(diagonal, place) for diagonal in diagonals)
        return choose(slots["pairs"] > 0.0, sy / yy, 1.0)

    def _coefficients(self, gamma, slots, steps_by_gradient, changes_by_gradient):
        """What Hg − γg takes of each s and of each y."""
        pairs = slots["pairs"]
        places = tf.range(self.history)
        # Oldest first, as far as there are pairs.
        turned = tf.where(pairs < self.history, 0, tf.cast(pairs, tf.int32) % self.history)
        order, back = (places + turned) % self.history, (places - turned) % self.history
        known = tf.cast(places, tf.float64) < pairs
        both = known[:, None] & known[None, :]
        sy = choose(both, _ordered(slots["steps_by_changes"], order), tf.eye(self.history, dtype=tf.float64))
        yy = choose(both, _ordered(slots["changes_by_changes"], order), 0.0)
        sg, yg = (choose(known, tf.gather(v, order), 0.0) for v in (steps_by_gradient, changes_by_gradient))
        r, diagonal = tf.linalg.band_part(sy, 0, -1), tf.linalg.diag_part(sy)
        p = _solve(r, sg)
        middle = diagonal * p + gamma * tf.linalg.matvec(yy, p)
        a, b = _solve(r, middle - gamma * yg, adjoint=True), -gamma * p
        return tf.gather(a, back), tf.gather(b, back)

    def _assemble(self, gamma, a, b, move, state, index, fits):
        """−γg − Σ aᵢsᵢ − Σ bᵢyᵢ; the newest pair is not among the rows yet."""
        newest = _is_row(index, self.history) & fits
        old_a, old_b = choose(newest, 0.0, a), choose(newest, 0.0, b)
        own = tf.stack([gamma, *(tf.reduce_sum(choose(newest, c, 0.0)) for c in (a, b))])
        rows = [state["steps"], state["changes"], move.gradient, move.s, move.y]
        return Heading(*descent(-tf.concat([old_a, old_b, own], axis=0), rows, move.gradient))


def _is_row(index, count):
    return tf.equal(tf.range(count), index)


def _with_column(matrix, column, index, fits):
    return choose(_is_row(index, matrix.shape[0])[None, :] & fits, column[:, None], matrix)


def _with_cross(matrix, column, index, fits):
    here = _is_row(index, matrix.shape[0])
    crossed = choose(here[None, :], column[:, None], choose(here[:, None], column[None, :], matrix))
    return choose(fits, crossed, matrix)


def _ordered(matrix, order):
    return tf.gather(tf.gather(matrix, order, axis=0), order, axis=1)


def _solve(upper, right, adjoint=False):
    return tf.linalg.triangular_solve(upper, right[:, None], lower=False, adjoint=adjoint)[:, 0]


@keras.saving.register_keras_serializable(package="tfopt")
class LBFGS(DirectionOptimizer):
    """L-BFGS: a quasi-Newton method that stores the last m steps instead of a matrix.

    With s = θₖ₊₁ − θₖ and y = ∇J(θₖ₊₁) − ∇J(θₖ) of the last m iterates, H the BFGS estimate of the inverse
    Hessian built from these pairs on γI::

        d = −H ∇J(θ)
        θ ← θ + α d        α from the line search

    m is `history`; γ = sᵀy/yᵀy of the newest pair (`scale="latest"`), or of the first (`"first"`, with which
    the method equals BFGS until m pairs are known). Pairs whose sᵀy is not clearly positive are left out. The
    first trial is α = `learning_rate`, normally 1; on the very first step, where nothing is known of the
    scale, a step of that length.

    Each train step is one evaluation of loss and gradient, and a trial point of the search more often than
    not the next iterate. The loss must be the same function during a search: train on the full batch (a
    dataset repeated, with `steps_per_epoch`; an epoch of one step costs 60 ms in Keras whatever is in it), on
    data larger than memory with `gradient_accumulation_steps`, or on each minibatch for several steps with
    `tfopt.data.repeat_each`. When the batch changes every step a search that a value contradicts has the
    iterate evaluated once more, learns from the difference how far the batches' values scatter, and from then
    on takes what lies within that for equal: the method goes on, but loses what makes it fast.

    When `fit` ends the model holds the iterate, and the next `fit` begins by evaluating it once more. Where a
    `fit` is only a few train steps long, put `tfopt.callbacks.EvaluationWeights()` among its callbacks: the
    search then goes on from its trial point, and validation sees the iterate. Memory: 2m + 3 vectors of the
    size of all weights, with `gradient_accumulation_steps` one more.

    Args:
        learning_rate: First trial of each search in units of the quasi-Newton step.
        history: m >= 1.
        scale: "latest" or "first".
        line_search: "strong_wolfe", "backtracking", "exact", "fixed", or a search of `tfopt.line_search`.
        tolerance: Largest |∂J/∂θᵢ| at which the method stands still; units of the loss per unit of weight.
        **options: Options of every tfopt optimizer but those that would change the function behind the
            search's back: `weight_decay`, clipping, `learning_rate_multipliers`, `use_ema`; see
            `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> valley = lambda x: tf.reduce_sum((x - [1.0, 2.0]) ** 4)
        >>> found = tfopt.minimize(valley, tf.zeros(2), method="LBFGS")
        >>> found.status.name
        'CONVERGED'

    Source: Liu and Nocedal, On the Limited Memory BFGS Method for Large Scale Optimization, 1989; Byrd,
    Nocedal and Schnabel, Representations of Quasi-Newton Matrices, 1994, theorem 2.2; chapter section 6.2.
    """

    def __init__(
        self,
        learning_rate=1.0,
        history=10,
        line_search="strong_wolfe",
        scale="latest",
        tolerance=0.0,
        **options,
    ):
        require_integer("LBFGS", 1, history=history)
        require_choice("LBFGS", ("latest", "first"), scale=scale)
        require_not_negative("LBFGS", tolerance=tolerance)
        line_search_of("LBFGS", line_search)
        hyper = dict(history=history, line_search=line_search, scale=scale, tolerance=tolerance)
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, *, history, line_search, scale, tolerance):
        """The pure machine behind this optimizer."""
        search = line_search_of("LBFGS", line_search)
        return DescentMachine(LimitedMemory(history, scale), search, tolerance)
