"""Exact: the minimiser along the line."""

import tensorflow as tf

from tfopt._check import is_number, require, require_integer
from tfopt.line_search._search import (
    ACCEPTED,
    ENDLESS,
    FAILED,
    FAR_OUT,
    SEARCHING,
    LineSearch,
    choose,
    doubles,
    noise,
    register,
    usable,
)

_LEAP = 100.0  # how many times farther an extrapolation may reach


@register
class Exact(LineSearch):
    """Finds the step where the slope along the direction vanishes: α* = argmin φ(α).

    Follows φ′ to its first zero by secants through its last two values, exact at once where φ is a parabola,
    and halves the interval where a secant leaves it or shortens it too slowly. Its lower end has φ′ < 0, its
    upper end lies too far: φ′ > 0, a value above φ(0), or none that is finite. Accepts once::

        |φ′(α)| ≤ tolerance · |φ′(0)|

    or the interval is as short as rounding allows. Steepest descent with it takes consecutive gradients at
    right angles; conjugate gradients with it end after n steps on a quadratic in n dimensions. It costs a few
    evaluations more per step than `StrongWolfe`, which quasi-Newton methods are better served with.

    Args:
        tolerance: Slope left over, relative to the slope at 0, in (0, 1).
        max_trials: Evaluations after which the search settles for the best step so far.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import tfopt
        >>> tfopt.line_search.Exact(tolerance=1e-3)
        Exact(tolerance=0.001, max_trials=40)

    Source: chapter section 7.1; Dekker, Finding a Zero by Means of Successive Linear
    Interpolation, 1969.
    """

    needs = frozenset({"value", "slope"})
    names = (
        "step",
        "verdict",
        "first",
        "start_value",
        "start_slope",
        "noise",
        "precision",
        "trials",
        "low",
        "high",
        "last",  # the trial before, and its slope; infinite where that was of no use
        "last_slope",
        "width",
        "last_width",
        "returning",
    )

    def __init__(self, tolerance=1e-6, max_trials=40):
        require(
            is_number(tolerance) and 0 < tolerance < 1, "Exact", "tolerance", tolerance, "0 < tolerance < 1"
        )
        require_integer("Exact", 2, max_trials=max_trials)
        self.tolerance, self.max_trials = tolerance, max_trials

    def begin(self, value, slope, step, precision):
        return doubles(
            step=step,
            verdict=SEARCHING,
            first=step,
            start_value=value,
            start_slope=slope,
            noise=noise(value, precision),
            precision=4.0 * precision,
            trials=0.0,
            low=0.0,
            high=float("inf"),
            last=0.0,
            last_slope=slope,
            width=float("inf"),
            last_width=float("inf"),
            returning=0.0,
        )

    def advance(self, state, value, slope):
        step, trials = state["step"], state["trials"] + 1.0
        sound = usable(value, slope) & (value <= state["start_value"] + state["noise"])
        rising = ~sound | (slope > 0.0)
        low, high = choose(rising, state["low"], step), choose(rising, step, state["high"])
        flat = sound & (tf.abs(slope) <= self.tolerance * tf.abs(state["start_slope"]))
        over = (trials >= self.max_trials) | (
            tf.math.is_finite(high) & (high - low <= state["precision"] * high)
        )
        # The step to settle for is asked for once more, unless it is the one just measured.
        returned = state["returning"] > 0.0
        settled = over & (low > 0.0) & ~returned
        back = settled & (low != step) & ~flat
        good = (flat | (settled & ~back) | returned) & usable(value, slope)
        failed = (over & ~settled) | returned
        endless = over & tf.math.is_inf(high) & ~returned & (step >= FAR_OUT * state["first"])
        verdict = choose(good, ACCEPTED, choose(failed, FAILED, SEARCHING))
        verdict = choose(endless & ~flat, ENDLESS, verdict)
        ahead = _next(state, step, slope, low, high)
        return state | doubles(
            step=choose(good, step, choose(back, low, ahead)),
            verdict=verdict,
            trials=trials,
            low=low,
            high=high,
            last=choose(sound, step, float("inf")),
            last_slope=slope,
            width=high - low,
            last_width=state["width"],
            returning=tf.cast(back, tf.float64),
        )

    def get_config(self):
        return {"tolerance": self.tolerance, "max_trials": self.max_trials}


def _next(state, step, slope, low, high):
    """The next trial: where the secant through the last two slopes is zero, within bounds."""
    zero = step - slope * (step - state["last"]) / (slope - state["last_slope"])
    slow = high - low > 0.5 * state["last_width"]
    inside = choose((zero > low) & (zero < high) & ~slow, zero, 0.5 * (low + high))
    beyond = choose(zero > step, tf.minimum(zero, _LEAP * step), 4.0 * step)
    return choose(tf.math.is_finite(high), inside, beyond)
