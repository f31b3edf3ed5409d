"""Newton's method with its equations solved by conjugate gradients."""

import keras
import tensorflow as tf

from tfopt._check import is_number, require, require_integer, require_not_negative, require_positive
from tfopt.line_search._named import line_search_of
from tfopt.line_search._search import choose, double, noise
from tfopt.optimizers._descent import DescentMachine
from tfopt.optimizers._direction import CurvedDirection
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._vectors import dot, scaled


class TruncatedNewton(CurvedDirection):
    """Minimises gᵀp + ½pᵀHp over ‖p‖ ≤ Δ by conjugate gradients (Steihaug); one product with H at a time.

    Without a trust region Δ is infinite and H + αI stands for H.
    """

    natural = True

    def __init__(self, damping, max_cg, radius):
        self.trusts = damping == "adaptive"
        self.damping = 0.0 if self.trusts else damping
        self.max_cg, self.radius = max_cg, radius
        self.slots = (
            *(Slot(name, shape=lambda n: (n,)) for name in ("solution", "residual", "conjugate")),
            Slot("radius", radius, scalar=True),
            *(Slot(name, scalar=True) for name in ("trusted", "bend", "solved", "solve_steps")),
        )

    def begin(self, move, state):
        """Start from p = 0; the last step's success decides on Δ."""
        g = move.gradient
        return {
            "solution": tf.zeros_like(g),
            "residual": -g,
            "conjugate": -g,
            "radius": self._radius(move, state),
            "trusted": double(0.0),
            "bend": double(0.0),
            "solved": double(0.0),
            "solve_steps": double(0.0),
        }

    def asks(self, state):
        return tf.equal(state["solved"], 0.0)

    def probe(self, state):
        return state["conjugate"]

    def absorb(self, answer, state):
        """One step of conjugate gradients."""
        p, r, d, g = (state[name] for name in ("solution", "residual", "conjugate", "gradient"))
        hd = answer + scaled(self.damping, d)
        rr, bend, dd = dot(r, r), dot(d, hd), dot(d, d)
        # Also where bend is not a number.
        falling = ~(bend > 1e-14 * dd)
        step, edge = rr / bend, self._edge(p, d, dd, state)
        ends = falling | (step >= edge) if self.trusts else falling
        step = choose(ends, edge, step)
        p, r = p + scaled(step, d), r - scaled(step, hd)
        left = dot(r, r)
        count = state["solve_steps"] + 1.0
        gg = dot(g, g)
        good = tf.sqrt(left / gg) <= tf.minimum(gg**0.25, 0.5)
        return {
            "solution": p,
            "residual": r,
            "conjugate": r + scaled(left / rr, d),
            "radius": state["radius"],
            "trusted": double(1.0),
            # Hp = −g − r all along.
            "bend": -dot(g, p) - dot(r, p),
            "solved": double(ends | good | (count >= self.max_cg)),
            "solve_steps": count,
        }

    def direction(self, state):
        return state["solution"]

    def reset(self, state):
        """After a search that failed: trust less."""
        return self.keep(state) | {"radius": 0.25 * state["radius"], "trusted": double(0.0)}

    def _edge(self, p, d, dd, state):
        """The step from p along d to where the solve has to end."""
        if not self.trusts:
            # Along a direction of negative curvature there is no best step: stay, or take −g at the start.
            return choose(tf.equal(state["solve_steps"], 0.0), 1.0, 0.0)
        pd, pp, radius = dot(p, d), dot(p, p), state["radius"]
        room = tf.maximum(radius * radius - pp, 0.0)
        return room / (pd + tf.sqrt(pd * pd + dd * room))

    def _radius(self, move, state):
        """Δ after a step α p: smaller where the model promised too much, larger where it was held back."""
        a, radius = move.step, state["radius"]
        predicted = -(a * move.last_slope + 0.5 * a * a * state["bend"])
        # Of the first trial, which was a share ε of the direction.
        share = a / move.learning_rate
        length = share * tf.sqrt(dot(move.last_direction, move.last_direction))
        ratio = move.decrease / predicted
        held_back = length > 0.8 * radius
        new = choose(ratio < 0.25, 0.25 * length, choose((ratio > 0.75) & held_back, 2.0 * length, radius))
        new = choose(share < 1.0, tf.minimum(length, new), new)
        telling = predicted > noise(state["value"], move.precision)
        new = choose(telling & tf.equal(state["trusted"], 1.0) & (new > 0.0), new, radius)
        return choose(move.void, self.radius, choose(move.fresh, radius, new))


@keras.saving.register_keras_serializable(package="tfopt")
class NewtonCG(DirectionOptimizer):
    """Truncated Newton: the Newton step by conjugate gradients on exact Hessian products, in O(n) memory.

    With g = ∇J(θ) and H = ∇²J(θ), known through its products Hv only::

        p ≈ argmin gᵀp + ½ pᵀHp  over ‖p‖ ≤ Δ        damping="adaptive": a trust region
        p ≈ −(H + αI)⁻¹ g                            damping=α
        θ ← θ + ε p                                  ε from the line search, 1 first

    The solve ends at a relative residual of min(½, √‖g‖), at the border of the trust region, along a
    direction of negative curvature (followed to the border; without a trust region the solve ends before it),
    or after `max_cg` products. Δ is `radius` at the start, grows where the quadratic model kept its promise
    and held the step back, and shrinks where it promised too much or the line search had to shorten the step.

    A product costs about as much as two gradients. On one device it is computed within the train step, so
    that a step is one evaluation of loss and gradient and up to `max_cg` products; over several replicas or
    with `gradient_accumulation_steps`, where a product is a sum over all of them, one product each train step
    (each pass) until the solve ends. What is said at `tfopt.LBFGS` on batches holds here too. Memory: 6
    vectors of the size of all weights, with `gradient_accumulation_steps` 8, and what a second
    differentiation of the loss takes.

    Args:
        learning_rate: First trial of each search in units of the Newton step.
        damping: "adaptive", or α >= 0 in units of the Hessian.
        max_cg: Largest number of products for one step.
        radius: Δ at the start, in units of ‖θ‖.
        line_search: "backtracking", "strong_wolfe", "exact", "fixed", or a search of `tfopt.line_search`.
        tolerance: Largest |∂J/∂θᵢ| at which the method stands still; units of the loss per unit of weight.
        **options: Options of every tfopt optimizer but those that would change the function behind the
            search's back: `weight_decay`, clipping, `learning_rate_multipliers`, `use_ema`; see
            `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range; in `fit`, if the model runs eagerly, where there is
            no graph to differentiate again.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> def rosenbrock(x):
        ...     return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> found = tfopt.minimize(rosenbrock, tf.constant([-1.2, 1.0], tf.float64), method="NewtonCG")
        >>> found.status.name, found.x.numpy().round(4).tolist()
        ('CONVERGED', [1.0, 1.0])

    Source: Steihaug, The Conjugate Gradient Method and Trust Regions in Large Scale Optimization, 1983;
    Nocedal and Yuan, Combining Trust Region and Line Search Techniques, 1998; chapter section 6.1.
    """

    def __init__(
        self,
        learning_rate=1.0,
        damping="adaptive",
        max_cg=50,
        radius=1.0,
        line_search="backtracking",
        tolerance=0.0,
        **options,
    ):
        if damping != "adaptive":
            good = is_number(damping) and damping >= 0
            require(good, "NewtonCG", "damping", damping, "'adaptive' or a finite number >= 0")
        require_integer("NewtonCG", 1, max_cg=max_cg)
        require_positive("NewtonCG", radius=radius)
        require_not_negative("NewtonCG", tolerance=tolerance)
        line_search_of("NewtonCG", line_search)
        hyper = dict(damping=damping, max_cg=max_cg, radius=radius, line_search=line_search)
        super().__init__(learning_rate, hyper | dict(tolerance=tolerance), **options)

    def make_machine(self, *, damping, max_cg, radius, line_search, tolerance):
        """The pure machine behind this optimizer."""
        search = line_search_of("NewtonCG", line_search)
        return DescentMachine(TruncatedNewton(damping, max_cg, radius), search, tolerance)
