"""Every rule again, in NumPy and float64: ``rule(g, p, slots, s) -> p, slots``; how far some look ahead."""

import numpy as np


def sgd(g, p, slots, s):
    """Gradient descent."""
    return p - s["rate"] * g, slots


def momentum(g, p, slots, s):
    """A velocity that the gradient accelerates."""
    v = s["momentum"] * slots["velocity"] - s["rate"] * g
    return p + v, {"velocity": v}


def delta_bar_delta(g, p, slots, s):
    """A gain per weight: more where gradient and trace agree in sign, less where they do not."""
    agree = np.sign(slots["trace"] * g)
    gain = np.select(
        [agree > 0, agree < 0], [slots["gain"] + s["increment"], slots["gain"] * s["shrink"]], slots["gain"]
    )
    trace = (1 - s["theta"]) * g + s["theta"] * slots["trace"]
    return p - s["rate"] * gain * g, {"gain": gain, "trace": trace}


def adagrad(g, p, slots, s):
    """Divides by the root of the sum of squares."""
    total = slots["square_sum"] + g**2
    return p - s["rate"] * g / (np.sqrt(total) + s["epsilon"]), {"square_sum": total}


def rmsprop(g, p, slots, s):
    """Divides by the root of a mean of squares; centred if there is a mean, with momentum if it moves."""
    keep = 1 - s["one_minus_rho"]
    new = {"square": keep * slots["square"] + s["one_minus_rho"] * g**2}
    spread = new["square"]
    if "mean" in slots:
        new["mean"] = keep * slots["mean"] + s["one_minus_rho"] * g
        spread = np.maximum(spread - new["mean"] ** 2, 0)
    step = -s["rate"] * g / (np.sqrt(spread) + s["epsilon"])
    if "velocity" in slots:
        step = new["velocity"] = s["momentum"] * slots["velocity"] + step
    return p + step, new


def adadelta(g, p, slots, s):
    """Steps in units of the steps before."""
    keep = 1 - s["one_minus_rho"]
    square = keep * slots["square"] + s["one_minus_rho"] * g**2
    step = g * np.sqrt((slots["squared_step"] + s["epsilon"]) / (square + s["epsilon"]))
    squared_step = keep * slots["squared_step"] + s["one_minus_rho"] * step**2
    return p - s["rate"] * step, {"square": square, "squared_step": squared_step}


def moments(g, slots, s):
    """Adam's two moments."""
    m = (1 - s["one_minus_beta_1"]) * slots["momentum"] + s["one_minus_beta_1"] * g
    v = (1 - s["one_minus_beta_2"]) * slots["velocity"] + s["one_minus_beta_2"] * g**2
    return {"momentum": m, "velocity": v}


def adam(g, p, slots, s):
    """δ beside the root."""
    new = moments(g, slots, s)
    return p - s["rate"] * new["momentum"] / (np.sqrt(new["velocity"]) + s["epsilon"]), new


def adam_inside(g, p, slots, s):
    """δ under the root."""
    new = moments(g, slots, s)
    return p - s["rate"] * new["momentum"] / np.sqrt(new["velocity"] + s["epsilon"]), new


def largest(slots, new, s):
    """AMSGrad's second moment, which never shrinks."""
    return np.maximum(slots["largest_velocity"], new["velocity"] * s["inverse_correction"])


def amsgrad(g, p, slots, s):
    """δ beside the root."""
    new = moments(g, slots, s)
    new["largest_velocity"] = largest(slots, new, s)
    return p - s["rate"] * new["momentum"] / (np.sqrt(new["largest_velocity"]) + s["epsilon"]), new


def amsgrad_inside(g, p, slots, s):
    """δ under the root."""
    new = moments(g, slots, s)
    new["largest_velocity"] = largest(slots, new, s)
    return p - s["rate"] * new["momentum"] / np.sqrt(new["largest_velocity"] + s["epsilon"]), new


def amsgrad_recursive(g, p, slots, s):
    """The largest second moment moves on from itself."""
    m = (1 - s["one_minus_beta_1"]) * slots["momentum"] + s["one_minus_beta_1"] * g
    old = slots["largest_velocity"]
    v = np.maximum(old + s["newest_weight"] * (g**2 - old), old)
    return p - s["rate"] * m / (np.sqrt(v) + s["epsilon"]), {"momentum": m, "largest_velocity": v}


def nadam(g, p, slots, s):
    """The coming momentum applied already now."""
    new = moments(g, slots, s)
    ahead = s["momentum_rate"] * new["momentum"] + s["gradient_rate"] * g
    return p - ahead / (np.sqrt(new["velocity"]) + s["epsilon"]), new


def nadam_lookahead(g, p, slots, s):
    """Adam that keeps its step, for the gradient is taken a step ahead."""
    new = moments(g, slots, s)
    new["step"] = -s["rate"] * new["momentum"] / (np.sqrt(new["velocity"]) + s["epsilon"])
    return p + new["step"], new


def ahead_by_momentum(slots, s):
    """αv."""
    return s["momentum"] * slots["velocity"]


def ahead_by_step(slots, s):
    """The step made last."""
    return slots["step"]


RULES = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": momentum,
    "delta_bar_delta": delta_bar_delta,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "rmsprop_centered": rmsprop,
    "rmsprop_momentum": rmsprop,
    "rmsprop_centered_momentum": rmsprop,
    "rmsprop_momentum_nesterov": rmsprop,
    "rmsprop_centered_momentum_nesterov": rmsprop,
    "adadelta": adadelta,
    "adam": adam,
    "adam_inside": adam_inside,
    "amsgrad": amsgrad,
    "amsgrad_inside": amsgrad_inside,
    "amsgrad_recursive": amsgrad_recursive,
    "nadam": nadam,
    "nadam_lookahead": nadam_lookahead,
}
AHEAD = {
    "nesterov": ahead_by_momentum,
    "rmsprop_momentum_nesterov": ahead_by_momentum,
    "rmsprop_centered_momentum_nesterov": ahead_by_momentum,
    "nadam_lookahead": ahead_by_step,
}


def step(name, g, p, slots, now, following, keep):
    """A step from the point where the gradient was taken: the iterate, the next such point, the slots."""
    ahead = AHEAD.get(name)
    iterate = (p - ahead(slots, now) if ahead else p) * keep
    iterate, slots = RULES[name](g, iterate, slots, now)
    return iterate, iterate + ahead(slots, following) if ahead else iterate, slots
