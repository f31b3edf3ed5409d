"""StrongWolfe: the search of Moré and Thuente."""

import tensorflow as tf

from tfopt._check import is_number, require, require_integer
from tfopt.line_search._interpolation import closer, cubic, farther, parabola, secant
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

_SHORTEST, _LONGEST = 1e-20, 1e20
_NEAR, _FAR = 1.1, 4.0  # how far a step may go beyond the best one while no interval is known
_SHRINK = 0.66  # an interval must shorten to this share in two trials


@register
class StrongWolfe(LineSearch):
    """Finds a step with enough decrease and a slope that has flattened: the strong Wolfe conditions.

    Accepts α with::

        φ(α) ≤ φ(0) + c₁ α φ′(0)          and   |φ′(α)| ≤ c₂ |φ′(0)|

    or, where values differ by their rounding η only, with the approximate Wolfe conditions, which ask the
    slope for what the values can no longer tell::

        |φ(α) − φ(0)| ≤ η   and   c₂ φ′(0) ≤ φ′(α) ≤ (2c₁ − 1) φ′(0)

    An interval that holds such a step is found and shortened by safeguarded cubic and quadratic
    interpolation; for a usable function the method ends after finitely many trials. A trial that is not
    finite counts as too
    far: the next one lies half-way back, and none at or beyond it is tried again. When no trial satisfies the
    conditions in `max_trials` evaluations, or the interval is as short as rounding allows, the best step with
    a decrease is taken (at the price of one evaluation, to have its gradient), or else the search fails.

    With c₂ < 1 an accepted pair has sᵀy > 0, as quasi-Newton methods need. c₂ = 0.9 suits these; conjugate
    gradients want a closer search, c₂ = 0.1.

    Args:
        c1: c₁ with 0 < c₁ < c₂: share of the decrease that the slope promises.
        c2: c₂ < 1: share of the slope that may be left.
        max_trials: Evaluations after which the search settles for the best step so far.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import tfopt
        >>> tfopt.line_search.StrongWolfe(c2=0.1)
        StrongWolfe(c1=0.0001, c2=0.1, max_trials=20)

    Source: Moré and Thuente, Line Search Algorithms with Guaranteed Sufficient Decrease, 1994; Hager and
    Zhang, A New Conjugate Gradient Method with Guaranteed Descent and an Efficient Line Search, 2005,
    section 4 (approximate conditions).
    """

    needs = frozenset({"value", "slope"})
    names = (
        "step",
        "verdict",
        "first",
        "start_value",
        "start_slope",
        "noise",
        "trials",
        "far",  # shortest step that was not finite
        "stage",  # 1: no step yet with enough decrease and a slope that does not fall
        "bracketed",
        "best",  # end of the interval with the least value
        "best_value",
        "best_slope",
        "other",
        "other_value",
        "other_slope",
        "width",
        "last_width",
        "low",
        "high",
        "returning",
    )

    def __init__(self, c1=1e-4, c2=0.9, max_trials=20):
        require(is_number(c1) and 0 < c1 < 0.5, "StrongWolfe", "c1", c1, "0 < c1 < 1/2")
        require(is_number(c2) and c1 < c2 < 1, "StrongWolfe", "c2", c2, f"c1 < c2 < 1, with c1 = {c1}")
        require_integer("StrongWolfe", 1, max_trials=max_trials)
        self.c1, self.c2, self.max_trials = c1, c2, max_trials

    def get_config(self):
        return {"c1": self.c1, "c2": self.c2, "max_trials": self.max_trials}

    def begin(self, value, slope, step, precision):
        return doubles(
            step=step,
            verdict=SEARCHING,
            first=step,
            start_value=value,
            start_slope=slope,
            noise=noise(value, precision),
            trials=0.0,
            far=float("inf"),
            stage=1.0,
            bracketed=0.0,
            best=0.0,
            best_value=value,
            best_slope=slope,
            other=0.0,
            other_value=value,
            other_slope=slope,
            width=_LONGEST,
            last_width=2.0 * _LONGEST,
            low=0.0,
            high=(1.0 + _FAR) * step,
            returning=0.0,
        )

    def advance(self, state, value, slope):
        state = state | doubles(trials=state["trials"] + 1.0)
        sound = usable(value, slope)
        good = sound & (self._satisfied(state, value, slope) | (state["returning"] > 0.0))
        moved = self._narrow(state, value, slope)
        moved = {name: choose(sound, moved[name], old) for name, old in self._back_off(state).items()}
        exhausted = (moved["trials"] >= self.max_trials) | self._too_short(moved)
        better = moved["best_value"] < state["start_value"]
        settled = exhausted & (moved["best"] > 0.0) & better & (state["returning"] == 0.0)
        here = settled & sound & (moved["best"] == state["step"])
        # The best step so far is asked for once more, for its gradient, unless it is the one just measured.
        back = settled & ~here
        open_ended = (moved["bracketed"] == 0.0) & tf.math.is_inf(moved["far"])
        endless = here & ~good & open_ended & (state["step"] >= FAR_OUT * state["first"])
        good = good | here
        failed = (exhausted & ~back) | (state["returning"] > 0.0)
        verdict = choose(endless, ENDLESS, choose(good, ACCEPTED, choose(failed, FAILED, SEARCHING)))
        step = choose(good, state["step"], choose(back, moved["best"], moved["step"]))
        return moved | doubles(verdict=verdict, step=step, returning=tf.cast(back, tf.float64))

    def _satisfied(self, state, value, slope):
        """The strong Wolfe conditions, or the approximate ones."""
        start, noise = state["start_slope"], state["noise"]
        enough = value <= state["start_value"] + self.c1 * state["step"] * start
        flat = tf.abs(slope) <= -self.c2 * start
        level = tf.abs(value - state["start_value"]) <= noise
        approximate = level & (slope >= self.c2 * start) & (slope <= (2.0 * self.c1 - 1.0) * start)
        return (enough & flat) | approximate

    def _back_off(self, state):
        """After a trial that was not finite: half-way back to the best step."""
        step = state["step"]
        nearer = state["best"] + 0.5 * (step - state["best"])
        return state | doubles(far=tf.minimum(state["far"], step), step=nearer, high=step)

    def _too_short(self, state):
        """Whether rounding lets the interval shorten no more."""
        span = tf.abs(state["other"] - state["best"])
        bracketed = (state["bracketed"] > 0.0) & (span <= 1e-15 * tf.maximum(state["best"], state["other"]))
        return bracketed | (state["step"] <= _SHORTEST)

    def _narrow(self, state, value, slope):
        """The interval and the next trial after a finite one."""
        step, rate = state["step"], self.c1 * state["start_slope"]
        line = state["start_value"] + step * rate
        state = state | doubles(stage=choose((value <= line) & (slope >= 0.0), 2.0, state["stage"]))
        # As long as no step decreases enough, ψ(α) = φ(α) − c₁αφ′(0) is what has a minimiser in the interval.
        tilt = choose((state["stage"] == 1.0) & (value <= state["best_value"]) & (value > line), rate, 0.0)
        tilted = _tilt(state, tilt)
        moved = _tilt(_shorten(tilted, value - step * tilt, slope - tilt), -tilt)
        return _place(_force(moved, state))


def _tilt(state, rate):
    """The ends of the interval seen with a slope of `rate` taken away."""
    return state | {
        "best_value": state["best_value"] - rate * state["best"],
        "other_value": state["other_value"] - rate * state["other"],
        "best_slope": state["best_slope"] - rate,
        "other_slope": state["other_slope"] - rate,
    }


def _shorten(state, f, d):
    """One interpolation step: a new trial, and the interval with the present trial as an end."""
    x, fx, dx = state["best"], state["best_value"], state["best_slope"]
    y, fy, dy = state["other"], state["other_value"], state["other_slope"]
    t, bracketed = state["step"], state["bracketed"] > 0.0
    higher, turned = f > fx, d * tf.sign(dx) < 0.0
    flatter = tf.abs(d) < tf.abs(dx)
    case = tf.where(higher, 0, tf.where(turned, 1, tf.where(flatter, 2, 3)))
    # Branches, not selections: XLA would compile every formula anew for each that uses it.
    trials = [
        lambda: _after_a_rise(x, fx, dx, t, f, d),
        lambda: _after_a_turn(x, fx, dx, t, f, d),
        lambda: _while_flattening(state, f, d),
        lambda: _while_steepening(state, f, d),
    ]
    chosen = tf.switch_case(case, trials)
    ends = {
        "other": choose(higher, t, choose(turned, x, y)),
        "other_value": choose(higher, f, choose(turned, fx, fy)),
        "other_slope": choose(higher, d, choose(turned, dx, dy)),
        "best": choose(higher, x, t),
        "best_value": choose(higher, fx, f),
        "best_slope": choose(higher, dx, d),
        "bracketed": tf.cast(bracketed | higher | turned, tf.float64),
    }
    return state | ends | {"step": chosen}


def _after_a_rise(x, fx, dx, t, f, d):
    """The value rose: a minimiser lies between."""
    c, q = cubic(x, fx, dx, t, f, d), parabola(x, fx, dx, t, f)
    return choose(tf.abs(c - x) < tf.abs(q - x), c, 0.5 * (c + q))


def _after_a_turn(x, fx, dx, t, f, d):
    """The slope changed its sign: a minimiser lies between."""
    return farther(cubic(x, fx, dx, t, f, d), secant(x, dx, t, d), t)


def _while_flattening(state, f, d):
    """Lower, and the slope flattens: extrapolate, or stay inside the interval if there is one."""
    x, t, y = state["best"], state["step"], state["other"]
    bracketed = state["bracketed"] > 0.0
    c = cubic(x, state["best_value"], state["best_slope"], t, f, d)
    limit = choose(t > x, state["high"], state["low"])
    # The cubic may have its minimiser on the other side, or none.
    ahead = tf.math.is_finite(c) & ((c - t) * (t - x) > 0.0)
    c = choose(ahead, c, limit)
    q = secant(x, state["best_slope"], t, d)
    inner = closer(c, q, t)
    bound = t + _SHRINK * (y - t)
    inner = choose(t > x, tf.minimum(bound, inner), tf.maximum(bound, inner))
    outer = tf.clip_by_value(farther(c, q, t), state["low"], state["high"])
    return choose(bracketed, inner, outer)


def _while_steepening(state, f, d):
    """Lower, and the slope does not flatten: go on as far as allowed."""
    x, t, y = state["best"], state["step"], state["other"]
    inner = cubic(t, f, d, y, state["other_value"], state["other_slope"])
    outer = choose(t > x, state["high"], state["low"])
    return choose(state["bracketed"] > 0.0, inner, outer)


def _force(state, before):
    """Halve an interval that shortened too little in two trials."""
    width = tf.abs(state["other"] - state["best"])
    slow = (state["bracketed"] > 0.0) & (width >= _SHRINK * before["last_width"])
    step = choose(slow, state["best"] + 0.5 * (state["other"] - state["best"]), state["step"])
    widths = {"last_width": before["width"], "width": width}
    kept = {name: choose(state["bracketed"] > 0.0, new, before[name]) for name, new in widths.items()}
    return state | kept | {"step": step}


def _place(state):
    """Bounds of the next trial, and the trial within them."""
    x, y, bracketed = state["best"], state["other"], state["bracketed"] > 0.0
    step = state["step"]
    low = choose(bracketed, tf.minimum(x, y), step + _NEAR * (step - x))
    high = choose(bracketed, tf.maximum(x, y), step + _FAR * (step - x))
    trial = tf.clip_by_value(state["step"], _SHORTEST, _LONGEST)
    # Not where the function was not finite before.
    trial = choose(trial < state["far"], trial, 0.5 * (x + tf.minimum(state["far"], _LONGEST)))
    trial = choose(tf.math.is_finite(trial), trial, 0.5 * (x + y))
    outside = bracketed & ((trial <= low) | (trial >= high))
    trial = choose(outside, 0.5 * (x + y), trial)
    return state | {"low": low, "high": high, "step": trial}
