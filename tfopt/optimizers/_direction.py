"""Where to go: what a direction method adds to a line search."""

from typing import Any, NamedTuple


class Move(NamedTuple):
    """What is known once a new iterate is accepted; vectors of all weights.

    Attributes:
        s: Step from the last iterate.
        y: Change of the gradient over it.
        gradient: At the new iterate.
        last_gradient: At the last one.
        last_direction: Direction of the step.
        last_slope: Slope along it at the last iterate, float64 scalar.
        step: α of the step, float64 scalar.
        learning_rate: ε, which along a `natural` direction was the first trial; float64 scalar.
        decrease: How far the function fell over it, float64 scalar.
        products: Of the direction's `rows`, s and y, in this order, with y and the gradient: float64,
            [rows + 2, 2].
        ss: sᵀs, float64 scalar.
        precision: Relative precision of the function's values, float64 scalar.
        fresh: Whether there is no last iterate to learn from: what tells of the way from there means nothing.
        changing: Whether the function is known to be another one time and again.
        void: Whether that has just been found, so that what was learnt of decreases means nothing either.
    """

    s: Any
    y: Any
    gradient: Any
    last_gradient: Any
    last_direction: Any
    last_slope: Any
    step: Any
    learning_rate: Any
    decrease: Any
    products: Any
    ss: Any
    precision: Any
    fresh: Any
    changing: Any
    void: Any

    @property
    def sy(self):
        """sᵀy."""
        return self.products[-2, 0]

    @property
    def yy(self):
        """yᵀy."""
        return self.products[-1, 0]

    @property
    def gy(self):
        """gᵀy."""
        return self.products[-1, 1]


class Heading(NamedTuple):
    """A direction d, with dᵀg and dᵀd as float64 scalars."""

    d: Any
    slope: Any
    square: Any


class Direction:
    """A pure rule for descent directions.

    Attributes:
        slots: State beside that of the search; `tfopt.optimizers._machine.Slot`.
        natural: Whether 1 is the step to try first, as for Newton's direction and what approximates it.
        descends: Whether a direction that does not lead down is a mistake, to be replaced by `fallback`.
        curvature: What it needs of the Hessian: None, "product" or "hessian"; see `CurvedDirection`.
    """

    slots: tuple = ()
    natural = False
    descends = True
    curvature: str | None = None

    def admit(self, size, dtype):
        """Raise ValueError where so many weights of this dtype are too many."""

    def rows(self, state):
        """The vectors and matrices whose products with y and the gradient it wants to know."""
        return []

    def next(self, move, state):
        """The direction at the new iterate, or a `Heading`; new values of slots: always the same ones."""
        raise NotImplementedError

    def keep(self, state):
        """The slots of `next`, unchanged."""
        return {}

    def reset(self, state):
        """The slots of `next` when the past is forgotten."""
        return self.keep(state)

    def first_trial(self, move, slope):
        """Step to try first along the new direction, `slope` the slope there; not asked for a fresh start."""
        return move.step * move.last_slope / slope

    def report(self, value):
        """One sentence on the run, for the log; ``value(name)`` is a scalar of the state."""
        return ""

    def fallback(self, gradient):
        """The direction to take where the rule's own is of no use."""
        return -gradient


class CurvedDirection(Direction):
    """A direction that asks for products with the Hessian, or for all of it, at the new iterate.

    `begin` notes what the move tells; while `asks`, the answer Hv to `probe` (or H) goes to `absorb`; then
    `direction` and `trial` say where to go.
    """

    curvature = "product"

    def begin(self, move, state):
        """New values of the direction's slots; always all of them."""
        raise NotImplementedError

    def asks(self, state):
        """Whether curvature is wanted: a boolean tensor."""
        raise NotImplementedError

    def probe(self, state):
        """The vector v whose Hv is wanted."""
        raise NotImplementedError

    def absorb(self, answer, state):
        """New values of the direction's slots, after Hv, or H for `curvature` "hessian"."""
        raise NotImplementedError

    def direction(self, state):
        """Where to go, once nothing more is asked."""
        raise NotImplementedError

    def trial(self, state, slope):
        """Step to try first along it, for directions that are not `natural`."""
        raise NotImplementedError

    def keep(self, state):
        """All slots, unchanged."""
        return {slot.name: state[slot.name] for slot in self.slots}


class Downhill(Direction):
    """The direction of steepest descent, d = −g."""

    def next(self, move, state):
        return -move.gradient, {}


def steep_enough(slope, gg, dd):
    """Whether a direction leads down, and not merely by rounding; from dᵀg, gᵀg and dᵀd."""
    return slope < -1e-12 * (gg * dd) ** 0.5
