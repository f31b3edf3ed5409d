"""Polyak averaging around a minimum (chapter section 8.2).

Stochastic gradients, here those of a quadratic with normal noise, at a constant learning rate: the iterate of
SGD crosses the minimum again and again without coming to rest. The mean of the path lies inside it, and comes
nearer the longer it runs.

Run ``python examples/chapter/polyak.py``: writes ``polyak.png`` to `--output`.
"""

import _figure
import numpy as np

import tfopt

START, RATE, NOISE, BURN_IN = (2.0, 1.5), 0.15, 1.5, 20
CURVATURES = np.array([1.0, 4.0], np.float32)


def bowl(point):
    """J(θ) = ½ (x² + 4 y²)."""
    return 0.5 * (CURVATURES[0] * point[..., 0] ** 2 + CURVATURES[1] * point[..., 1] ** 2)


def measure(smoke):
    """Paths of the iterate and of the mean, which share the noise: (step, run, 2)."""
    steps, runs = (120, 20) if smoke else (500, 20)
    noise = NOISE * np.random.default_rng(0).standard_normal((steps, runs, 2))
    methods = {
        "iterate of SGD": tfopt.SGD(RATE),
        "mean of the iterates": tfopt.PolyakAverage(tfopt.SGD(RATE), start_step=BURN_IN),
    }
    start = np.tile(START, (runs, 1))
    return {name: _figure.walk(made, bowl, start, steps, noise) for name, made in methods.items()}


def draw(found):
    """One path on the contour, and the median distance to the minimum against the step."""
    figure, (left, right) = _figure.panels(2)
    _figure.contours(left, _figure.on_grid(bowl), (-1.6, 2.4, -1.0, 1.9))
    for number, (name, paths) in enumerate(found.items()):
        path = paths[: 10 * BURN_IN, 0]
        # The iterate in the palest shade below: it covers most of the panel.
        style = _figure.look((3, 0)[number], len(path), 25)
        left.plot(*path.T, label=name, **style | dict(linewidth=0.9))
        distances = np.median(np.linalg.norm(paths, axis=-1), axis=1)
        steps = np.arange(1, len(distances) + 1)
        marked = np.unique(np.geomspace(1, len(steps), 10).astype(int)) - 1
        style = _figure.look((3, 0)[number], 1) | dict(markevery=marked.tolist())
        right.loglog(steps, distances, label=name, **style)
    _figure.star(left, (0, 0))
    left.set(xlabel="x", ylabel="y", title=f"The first {10 * BURN_IN} steps of one run")
    title = f"Median of {paths.shape[1]} runs"
    right.set(xlabel="1 + step", ylabel="‖θ‖, distance to the minimum", title=title)
    left.legend(loc="upper right")
    right.legend(loc="lower left")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "polyak", measure, draw, arguments)


if __name__ == "__main__":
    main()
