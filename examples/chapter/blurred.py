"""Blurred objectives: many minima become one (chapter section 8.5).

J(θ) = θ²/10 − cos 3θ has a minimum near every multiple of 2π/3. Blurred by noise of width σ it is
J_σ(θ) = (θ² + σ²)/10 − exp(−9σ²/2) cos 3θ, which has fewer of them, and from σ ≈ 1 on a single one. Descent
on J stays in the nearest; `tfopt.GaussianSmoothing`, which samples the blur and lets σ fall to 0, follows the
minimum of the blurred objectives to the lowest of J.

Run ``python examples/chapter/blurred.py``: writes ``blurred.png`` to `--output`.
"""

import _figure
import keras
import numpy as np
import tensorflow as tf

import tfopt

STARTS = (-4.4, -3.0, 2.5, 4.7)
WIDTHS = (0.0, 0.4, 0.6, 1.5)
RATE, SAMPLES = 0.1, 8


def blurred(theta, sigma):
    """J_σ in closed form."""
    return (theta**2 + sigma**2) / 10 - np.exp(-4.5 * sigma**2) * np.cos(3 * theta)


def objective(point):
    """J, summed over independent points."""
    return tf.reduce_sum(point**2 / 10 - tf.cos(3 * point))


def measure(smoke):
    """Paths of both methods, one column for each start: (update, start)."""
    updates = 300 if smoke else 400
    narrowing = keras.optimizers.schedules.PolynomialDecay(
        WIDTHS[-1], int(0.8 * updates), end_learning_rate=0.0
    )
    smooth = tfopt.GaussianSmoothing(tfopt.SGD(RATE), narrowing, SAMPLES, antithetic=True, seed=0)
    return {
        "SGD": _figure.walk(tfopt.SGD(RATE), objective, STARTS, updates),
        "GaussianSmoothing": _figure.walk(smooth, objective, STARTS, updates * SAMPLES, every=SAMPLES),
    }


def draw(found):
    """The objectives, and the paths against the update."""
    figure, (left, right) = _figure.panels(2)
    theta = np.linspace(-5.5, 5.5, 401)
    for number, sigma in enumerate(WIDTHS):
        left.plot(theta, blurred(theta, sigma), label=f"σ = {sigma:g}", **_figure.look(number, len(theta)))
    for number, (name, paths) in enumerate(found.items()):
        for row, path in enumerate(paths.T):
            label = name if row == 0 else None
            right.plot(path, label=label, **_figure.look((3, 0)[number], len(path)))
    right.axhline(0, color="0.5", linewidth=0.8)
    left.set(xlabel="θ", ylabel="J_σ(θ)", ylim=(-1.4, 5.2), title="The objective and its blurs")
    right.set(xlabel="update", ylabel="θ", ylim=(-5.5, 7.8), title="σ falls from 1.5 to 0")
    left.legend(loc="upper center", ncols=2)
    right.legend(loc="upper right", ncols=2)
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "blurred", measure, draw, arguments)


if __name__ == "__main__":
    main()
