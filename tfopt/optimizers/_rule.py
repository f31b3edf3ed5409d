"""What a first-order rule is: a pure function of one gradient, one weight tensor and its slots."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfopt._check import require_fraction


@dataclasses.dataclass(frozen=True)
class Rule:
    """An element-wise update, free of Keras, of variables and of state.

    Attributes:
        name: What a fused kernel is registered under.
        update: ``update(g, p, slots, s) -> (increment, slots)``: gradient, iterate and slot values in; what
            to add to the iterate, and new slot values, out. `s` holds the step's scalars as attributes.
        scalars: ``scalars(t, learning_rate) -> dict``: everything that is the same for all elements of a
            step, in float64; `t` counts updates from 1.
        slots: Names of the slots, in the order in which `update` takes them.
        initial: Initial value of a slot, where it is not 0.
        carried: Initial values of scalars that live from step to step (a running product, say). They are
            passed to `scalars` as further keyword arguments, after `carry` has moved them on.
        carry: ``carry(t, **carried) -> dict``: the carried scalars of update `t`.
        lookahead: ``lookahead(slots, s)``: displacement of the point where the next gradient is wanted from
            the iterate, or None where both are the same.
    """

    name: str
    update: Callable[..., Any]
    scalars: Callable[..., dict]
    slots: tuple[str, ...] = ()
    initial: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    carried: Mapping[str, float] = dataclasses.field(default_factory=dict)
    carry: Callable[..., dict] | None = None
    lookahead: Callable[..., Any] | None = None


def bias_correction(beta, t):
    """1 − βᵗ, exact to the last digits where β is near 1 and t is small."""
    if beta == 0.0:
        return tf.ones_like(t)
    return -tf.math.expm1(t * math.log(beta))


def blend_for(rho):
    """The running mean ``blend(old, new, weight)``, weight = 1 − ρ, in the form that is exact for this ρ."""
    return _blend_slowly if rho >= 0.5 else _blend_fast


def _blend_slowly(old, new, weight):
    return old + (new - old) * weight


def _blend_fast(old, new, weight):
    # An old value far above the new one would swallow it in `_blend_slowly`.
    return new + (old - new) * (1.0 - weight)


def value_at(value, t):
    """A hyper-parameter at update `t` (from 1): the number itself, or its schedule's value."""
    if callable(value):
        return tf.cast(value(t - 1), tf.float64)
    return tf.constant(value, tf.float64)


def require_momentum(owner, momentum):
    """Require a number in [0, 1) or a Keras schedule."""
    if not isinstance(momentum, keras.optimizers.schedules.LearningRateSchedule):
        require_fraction(owner, momentum=momentum)
