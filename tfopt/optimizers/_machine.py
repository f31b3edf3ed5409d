"""What an optimizer is inside: a pure state machine that answers an evaluation with the next point."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Evaluation(NamedTuple):
    """What one train step measured at the point that the model's variables held."""

    gradients: Sequence[Any]
    loss: Any = None


class Slot(NamedTuple):
    """One entry of a machine's state: a tensor per weight variable, or one scalar for all of them.

    Machines that treat all n weights as one vector have slots with a `shape`, a function of n.
    """

    name: str
    initial: Any = 0.0
    scalar: bool = False
    shape: Callable[[int], tuple[int, ...]] | None = None
    double: bool = False  # float64 whatever the weights are
    by_rows: bool = False  # a matrix that changes by a `Row`, and is only read by the products of `_vectors`

    def value(self, size, dtype):
        """The initial value for one vector of that size and dtype."""
        wide = tf.float64 if self.scalar or self.double else dtype
        shape = self.shape(size) if self.shape is not None else ()
        return tf.fill(shape, tf.constant(self.initial, wide))


class Row(NamedTuple):
    """New value of one row of a slot, in place of the whole slot; with a negative index the value is any."""

    index: Any
    value: Any


class Context(NamedTuple):
    """What a step knows beside the evaluation and its state.

    Attributes:
        t: Number of this update, from 1; float64 scalar.
        learning_rate: ε of this update; float64 scalar.
        multipliers: Factor on ε, one Python number per variable.
        rows: Place of each weight among those that the optimizer was built with.
        keep: 1 − λε of each weight that decays, None for the others; for partial machines only.
        constraints: Constraint of each weight, or None; for partial machines only.
        precision: Relative precision of the loss, a number; for machines that compare losses.
        steady: Whether the loss is known to be the same function each time.
    """

    t: Any
    learning_rate: Any
    multipliers: Sequence[float]
    rows: Sequence[int] = ()
    keep: Sequence[Any] = ()
    constraints: Sequence[Any] = ()
    precision: Any = 0.0
    steady: bool = False

    def following(self):
        """The context of the update after this one, at the same ε."""
        return self._replace(t=self.t + 1)


class Machine:
    """State in, evaluation in; state and next point out.

    Three moments of an update are separate so that weight decay, constraints and averages act on the
    iterate θ wherever the gradient was taken: `iterate` finds θ from the point the variables hold, `step`
    moves it, `query` says where the next gradient is wanted. State is a dict: a list of tensors per name,
    aligned with the weights, or one scalar tensor.
    """

    slots: Sequence[Slot] = ()
    swaps = False  # whether what is shown and the training point change places in the state
    displaced = False  # whether the weights to show differ from the point the variables hold in training
    flat = False  # whether it takes all weights as one vector, and the loss beside the gradient
    curvature: str | None = None  # what it asks of the Hessian: "product" with a vector, "hessian" itself
    partial = False  # whether a step moves some weights only; it then decays and constrains those by itself
    wanders = False  # whether the point moves between the gradients that are summed for one update

    def arrange(self, paths, shapes):
        """Learn the variables' paths and shapes, before `slots` is read; for machines that need them."""

    def admit(self, size, dtype):
        """Raise ValueError where so many weights, as one vector of this dtype, are too many."""

    def iterate(self, point, state, context):
        """The iterate θ, given the point the variables hold."""
        return point

    def step(self, evaluation, iterate, state, context):
        """The next iterate and state."""
        raise NotImplementedError

    def settle(self, iterate, state, context):
        """State that depends on the iterate as it stands after constraints."""
        return state

    def query(self, iterate, state, context):
        """Where the next gradient is wanted; `context` is the coming update's."""
        return iterate

    def idle(self, state, context):
        """The state after an update of which the weights at hand have no gradient."""
        return state

    def wander(self, point, state, context):
        """The next point and state while the gradients of one update are being summed."""
        return point, state

    def restart(self):
        """The slots that change where the next evaluation, of the iterate, is to be taken for the first."""
        return {}

    def revisit(self, state):
        """The slots that change where the iterate is evaluated in place of the point that was asked for."""
        return {}

    def awaits(self, state):
        """Whether curvature is wanted at the point held, before `step` is called again: a boolean tensor."""
        raise NotImplementedError

    def probe(self, state):
        """The vector whose product with the Hessian is wanted."""
        raise NotImplementedError

    def absorb(self, answer, point, state, context):
        """The next point and state after the curvature that was asked for."""
        raise NotImplementedError

    def report(self, value):
        """One sentence on the run, for the log; ``value(name)`` is a scalar of the state, 0 at first."""
        return ""

    def expose(self, point, state, context):
        """The weights a user should see, and a state from which `resume` finds the way back."""
        return self.iterate(point, state, context), state

    def resume(self, visible, state, context):
        """Undo `expose`."""
        return self.query(visible, state, context), state

    def adopt(self, visible, state, context):
        """As `resume`, where what is visible is not what was shown: the training point moves to it."""
        return self.resume(visible, state, context)


def decayed(weights, keep):
    """Weights times 1 − λε, where they decay."""
    return [p if k is None else p * k for p, k in zip(weights, keep, strict=True)]


def constrained(weights, constraints):
    """Weights as their constraints allow them."""
    return [p if c is None else c(p) for p, c in zip(weights, constraints, strict=True)]


def scalars_by_weight(scalars, context, weights):
    """``scalars(t, ε)`` for each weight's ε, in its dtype, as namespaces; shared ones are made once."""
    made: dict = {}
    keys = [(factor, p.dtype) for factor, p in zip(context.multipliers, weights, strict=True)]
    for factor in dict.fromkeys(context.multipliers):
        values = scalars(context.t, context.learning_rate * factor)
        for dtype in dict.fromkeys(p.dtype for p in weights):
            # By way of float64: tf.cast would take a Python number through float32.
            wide = {name: tf.convert_to_tensor(value, tf.float64) for name, value in values.items()}
            cast = {name: tf.cast(value, dtype) for name, value in wide.items()}
            made[factor, dtype] = types.SimpleNamespace(**cast)
    return [made[key] for key in keys]


class RuleMachine(Machine):
    """Runs one element-wise rule over all variables."""

    def __init__(self, rule):
        self.rule = rule
        self.displaced = rule.lookahead is not None
        self.slots = (
            *(Slot(name, rule.initial.get(name, 0.0)) for name in rule.slots),
            *(Slot(name, value, scalar=True) for name, value in rule.carried.items()),
        )

    def iterate(self, point, state, context):
        """θ = q − lookahead."""
        return self._displaced(point, state, context, -1)

    def query(self, iterate, state, context):
        """q = θ + lookahead."""
        return self._displaced(iterate, state, context, +1)

    def step(self, evaluation, iterate, state, context):
        """The rule, variable by variable."""
        increments, state = self.increments(evaluation, iterate, state, context)
        return [p + d for p, d in zip(iterate, increments, strict=True)], state

    def increments(self, evaluation, iterate, state, context):
        """What `step` adds to the iterate, and the next state."""
        state = self.carry(state, context)
        scalars = self.scalars(state, context, iterate)
        rows = self._rows(state, len(iterate))
        columns: list = [[] for _ in self.rule.slots]
        increments = []
        for g, p, slots, s in zip(evaluation.gradients, iterate, rows, scalars, strict=True):
            increment, slots = self.rule.update(g, p, slots, s)
            increments.append(increment)
            for column, slot in zip(columns, slots, strict=True):
                column.append(slot)
        return increments, state | dict(zip(self.rule.slots, columns, strict=True))

    def idle(self, state, context):
        """The carried scalars go on."""
        return self.carry(state, context)

    def carry(self, state, context):
        """State with the carried scalars of this update."""
        if self.rule.carry is None:
            return state
        return state | self.rule.carry(context.t, **{name: state[name] for name in self.rule.carried})

    def scalars(self, state, context, weights):
        """The rule's scalars for each weight."""
        carried = {name: state[name] for name in self.rule.carried}
        return scalars_by_weight(functools.partial(self.rule.scalars, **carried), context, weights)

    def _rows(self, state, count):
        return [tuple(state[name][i] for name in self.rule.slots) for i in range(count)]

    def _displaced(self, weights, state, context, sign):
        if not self.displaced:
            return weights
        scalars = self.scalars(state, context, weights)
        rows = self._rows(state, len(weights))
        return [
            p + sign * self.rule.lookahead(row, s) for p, row, s in zip(weights, rows, scalars, strict=True)
        ]
