"""Backtracking until Armijo's condition holds."""

import tensorflow as tf

from tfopt._check import is_number, require, require_integer
from tfopt.line_search._search import (
    ACCEPTED,
    FAILED,
    SEARCHING,
    LineSearch,
    choose,
    doubles,
    noise,
    register,
    usable,
)


@register
class Backtracking(LineSearch):
    """Shortens the step until the function has decreased enough (Armijo).

    Accepts the first α with::

        φ(α) ≤ φ(0) + c₁ α φ′(0) + η

    and else tries the minimiser of the parabola through φ(0), φ′(0) and φ(α), kept between 1/10 and `shrink`
    of α; a trial that is not finite shortens to `shrink` α. η is the rounding of φ, so that the search ends
    near a minimum, where every step looks equal. Needs the value only; it says nothing on curvature, so that
    quasi-Newton methods skip the pairs that do not fit.

    Args:
        c1: c₁ in (0, 1): share of the decrease that the slope promises.
        shrink: Largest factor from one trial to the next, in (0.1, 1).
        max_trials: Evaluations after which the search fails.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import tfopt
        >>> tfopt.line_search.Backtracking(c1=0.1)
        Backtracking(c1=0.1, shrink=0.5, max_trials=30)

    Source: Armijo, Minimization of Functions Having Lipschitz Continuous First Partial Derivatives, 1966;
    Nocedal and Wright, Numerical Optimization, 2006, algorithm 3.1.
    """

    needs = frozenset({"value"})
    names = ("step", "verdict", "start_value", "start_slope", "noise", "trials")

    def __init__(self, c1=1e-4, shrink=0.5, max_trials=30):
        require(is_number(c1) and 0 < c1 < 1, "Backtracking", "c1", c1, "0 < c1 < 1")
        require(is_number(shrink) and 0.1 < shrink < 1, "Backtracking", "shrink", shrink, "0.1 < shrink < 1")
        require_integer("Backtracking", 1, max_trials=max_trials)
        self.c1, self.shrink, self.max_trials = c1, shrink, max_trials

    def begin(self, value, slope, step, precision):
        return doubles(
            step=step,
            verdict=SEARCHING,
            start_value=value,
            start_slope=slope,
            noise=noise(value, precision),
            trials=0.0,
        )

    def advance(self, state, value, slope):
        step, trials = state["step"], state["trials"] + 1.0
        promised = self.c1 * step * state["start_slope"]
        enough = usable(value, slope) & (value <= state["start_value"] + promised + state["noise"])
        over = trials >= self.max_trials
        verdict = choose(enough, ACCEPTED, choose(over, FAILED, SEARCHING))
        shorter = step * self._factor(state, value)
        return state | doubles(verdict=verdict, trials=trials, step=choose(enough, step, shorter))

    def _factor(self, state, value):
        """Where the parabola has its minimum, in units of the present step."""
        fall = state["step"] * state["start_slope"]
        minimum = -fall / (2.0 * (value - state["start_value"] - fall))
        sound = tf.math.is_finite(value) & tf.math.is_finite(minimum)
        return choose(sound, tf.clip_by_value(minimum, 0.1, self.shrink), self.shrink)

    def get_config(self):
        return {"c1": self.c1, "shrink": self.shrink, "max_trials": self.max_trials}
