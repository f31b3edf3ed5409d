"""Newton's method with the whole Hessian."""

import keras
import tensorflow as tf

from tfopt._check import is_number, require, require_choice, require_integer, require_not_negative
from tfopt.line_search._named import line_search_of
from tfopt.line_search._search import choose, double, noise
from tfopt.line_search.fixed import Fixed
from tfopt.optimizers._descent import DescentMachine
from tfopt.optimizers._direction import CurvedDirection
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._vectors import dot, precision

_FIRST_DAMPING = 1e-3  # α where some is needed and there was none, relative to the largest |Hᵢᵢ|
SOLVERS = ("cholesky", "eigh", "saddle_free")


class NewtonStep(CurvedDirection):
    """d = −(H + αI)⁻¹g, with α as given or as the last steps have taught."""

    curvature = "hessian"
    natural = True

    def __init__(self, damping, solver, max_parameters):
        self.adapts = damping == "adaptive"
        self.solver, self.max_parameters = solver, max_parameters
        self.descends = solver != "eigh"
        self.slots = (
            Slot("newton", shape=lambda n: (n,)),
            Slot("damping", 0.0 if self.adapts else damping, scalar=True),
            *(Slot(name, scalar=True) for name in ("scale", "trusted", "bend", "solved", "indefinite")),
        )

    def admit(self, size, dtype):
        """Refuse what would need too large a matrix."""
        if size > self.max_parameters:
            raise ValueError(
                f"Newton(max_parameters={self.max_parameters}): expected at most so many weights, got "
                f"{size}, whose Hessian takes {size**2 * dtype.size / 1e9:.1f} GB; NewtonCG needs "
                "products with it only."
            )

    def begin(self, move, state):
        """Ask for H; the last step's success decides on α."""
        changes = {"trusted": double(0.0), "solved": double(0.0), "damping": self._adapted(move, state)}
        return self.keep(state) | changes

    def asks(self, state):
        return tf.equal(state["solved"], 0.0)

    def absorb(self, answer, state):
        """Solve for the step."""
        g = state["gradient"]
        scale = tf.cast(tf.reduce_max(tf.abs(tf.linalg.diag_part(answer))), tf.float64)
        d, damping = tf.cond(
            tf.reduce_all(tf.math.is_finite(answer)),
            lambda: self._solve(answer, g, state["damping"], scale),
            lambda: (tf.fill(g.shape, tf.constant(float("nan"), g.dtype)), state["damping"]),
        )
        grew = double(damping > state["damping"])
        return {
            "newton": d,
            "damping": damping if self.adapts else state["damping"],
            "scale": scale,
            "trusted": double(1.0),
            "bend": dot(d, tf.linalg.matvec(answer, d)),
            "solved": double(1.0),
            "indefinite": state["indefinite"] + grew,
        }

    def direction(self, state):
        return state["newton"]

    def reset(self, state):
        """After a search that failed: trust less."""
        grown = self._grown(state["damping"], state["scale"]) if self.adapts else state["damping"]
        return self.keep(state) | {"damping": grown, "trusted": double(0.0)}

    def report(self, value):
        """How often the Hessian alone was no use."""
        times = int(value("indefinite"))
        if not times:
            return ""
        return (
            f"Newton: the Hessian was not positive definite in {times} iterations, where the damping was "
            f"raised until it was; it stands at {value('damping'):.3g}."
        )

    def _solve(self, h, g, damping, scale):
        if self.solver == "cholesky":
            return self._solve_positive(h, g, damping, scale)
        values, vectors = tf.linalg.eigh(h)
        if self.solver == "saddle_free":
            values = tf.abs(values)
        values = values + tf.cast(damping, h.dtype)
        # Directions in which the function is flat to rounding have no Newton step.
        floor = h.shape[0] * precision(h.dtype) * tf.reduce_max(tf.abs(values))
        inverse = tf.where(tf.abs(values) > floor, 1.0 / values, tf.zeros_like(values))
        along = tf.linalg.matvec(vectors, g, transpose_a=True)
        return -tf.linalg.matvec(vectors, inverse * along), damping

    def _solve_positive(self, h, g, damping, scale):
        """With the least α, from `damping` on in powers of 4, for which H + αI has a Cholesky factor."""

        def factor(damping):
            lower = tf.linalg.cholesky(h + tf.cast(damping, h.dtype) * tf.eye(h.shape[0], dtype=h.dtype))
            return lower, tf.reduce_all(tf.math.is_finite(lower))

        def grow(damping, _, __):
            damping = self._grown(damping, scale)
            return damping, *factor(damping)

        damping, lower, _ = tf.while_loop(lambda _, __, good: ~good, grow, (damping, *factor(damping)))
        return -tf.linalg.cholesky_solve(lower, g[:, None])[:, 0], damping

    def _grown(self, damping, scale):
        return tf.maximum(4.0 * damping, tf.maximum(_FIRST_DAMPING * scale, 1e-30))

    def _adapted(self, move, state):
        """α after a step: larger where the model promised too much, smaller where it kept its promise."""
        damping = state["damping"]
        if not self.adapts:
            return damping
        a, scale = move.step, state["scale"]
        predicted = -(a * move.last_slope + 0.5 * a * a * state["bend"])
        ratio = move.decrease / predicted
        smaller = choose(damping > 1e-9 * scale, 0.25 * damping, 0.0)
        new = choose(ratio > 0.75, smaller, damping)
        # Of the first trial, which was a share ε of the direction.
        shortened = a / move.learning_rate < 0.5
        new = choose((ratio < 0.25) | shortened, self._grown(damping, scale), new)
        telling = predicted > noise(state["value"], move.precision)
        new = choose(telling & tf.equal(state["trusted"], 1.0), new, damping)
        return choose(move.void, 0.0, choose(move.fresh, damping, new))


@keras.saving.register_keras_serializable(package="tfopt")
class Newton(DirectionOptimizer):
    """Newton's method: to the minimum of the quadratic that has the loss's gradient and Hessian.

    With g = ∇J(θ) and the exact Hessian H = ∇²J(θ)::

        d = −(H + αI)⁻¹ g
        θ ← θ + ε d             ε from the line search, 1 first

    On a quadratic with α = 0 one step is enough. Where H has negative eigenvalues the plain step leads to the
    nearest critical point, of whatever kind. What is done about it depends on `solver`:

    * "cholesky": α grows until H + αI is positive definite, so that d leads down; how often, and where it
      stands, is told by `result.message` and in the log at the end of `fit`.
    * "saddle_free": |H| + αI, with the absolute eigenvalues of H, so that d leads away from saddles.
    * "eigh": H + αI as it is, flat directions left out: the chapter's plain step. It may walk into a saddle,
      and since it need not lead down, takes `line_search="fixed"` only.

    α is `damping`, or with "adaptive" starts at 0, grows where the quadratic promised more than the step gave
    or H asks for it, and shrinks where the promise was kept (Levenberg and Marquardt).

    The n × n Hessian is made of exact products, a chunk of rows at a time (one at a time where XLA compiles a
    recurrent model), once per iteration, on one device within the train step; over several replicas or with
    `gradient_accumulation_steps` with a train step (a pass) of its own. It takes about 2n gradients' time,
    and its factor n³ operations. Memory: 4n numbers, in a step H and its factor besides; with
    `gradient_accumulation_steps` n² + n more. Above `max_parameters` the optimizer refuses and names
    `NewtonCG`. What is said at `tfopt.LBFGS` on batches holds here too.

    Args:
        learning_rate: First trial of each search in units of the Newton step.
        damping: "adaptive", or α >= 0 in units of the Hessian.
        solver: "cholesky", "saddle_free" or "eigh".
        max_parameters: Largest n.
        line_search: "backtracking", "strong_wolfe", "exact", "fixed", or a search of `tfopt.line_search`;
            None for "fixed" with the solver "eigh" and "backtracking" otherwise.
        tolerance: Largest |∂J/∂θᵢ| at which the method stands still; units of the loss per unit of weight.
        **options: Options of every tfopt optimizer but those that would change the function behind the
            search's back: `weight_decay`, clipping, `learning_rate_multipliers`, `use_ema`; see
            `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range; in `fit`, if the model runs eagerly, where there is
            no graph to differentiate again.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> bowl = lambda x: 3 * x[0] ** 2 + 2 * x[0] * x[1] + x[1] ** 2 - x[0]
        >>> tfopt.minimize(bowl, tf.zeros(2, tf.float64), method="Newton").iterations
        1

    Source: Nocedal and Wright, Numerical Optimization, 2006, section 3.4; Dauphin et al., Identifying and
    Attacking the Saddle Point Problem, 2014 (saddle-free); chapter section 6.1.
    """

    def __init__(
        self,
        learning_rate=1.0,
        damping="adaptive",
        solver="cholesky",
        max_parameters=2000,
        line_search=None,
        tolerance=0.0,
        **options,
    ):
        if damping != "adaptive":
            good = is_number(damping) and damping >= 0
            require(good, "Newton", "damping", damping, "'adaptive' or a finite number >= 0")
        require_choice("Newton", SOLVERS, solver=solver)
        require_integer("Newton", 1, max_parameters=max_parameters)
        require_not_negative("Newton", tolerance=tolerance)
        search = _search_of(solver, line_search)
        if solver == "eigh":
            expected = "'fixed' with solver='eigh', whose direction need not lead down"
            require(isinstance(search, Fixed), "Newton", "line_search", line_search, expected)
            require(damping != "adaptive", "Newton", "damping", damping, "a number with solver='eigh'")
        hyper = dict(damping=damping, solver=solver, max_parameters=max_parameters)
        super().__init__(learning_rate, hyper | dict(line_search=line_search, tolerance=tolerance), **options)

    def make_machine(self, *, damping, solver, max_parameters, line_search, tolerance):
        """The pure machine behind this optimizer."""
        step = NewtonStep(damping, solver, max_parameters)
        return DescentMachine(step, _search_of(solver, line_search), tolerance)


def _search_of(solver, given):
    if given is None:
        given = "fixed" if solver == "eigh" else "backtracking"
    return line_search_of("Newton", given)
