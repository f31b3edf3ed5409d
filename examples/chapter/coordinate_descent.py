"""Coordinate descent's slow case (chapter section 8.1).

f(x) = (x₁ − x₂)² + α (x₁² + x₂²): the first term ties the coordinates together, and the smaller α the less
one may move without the other. Every step of coordinate descent is exact, and still 1/α of them are needed;
Newton's method, which turns both at once, needs one.

Run ``python examples/chapter/coordinate_descent.py``: writes ``coordinate_descent.png`` to `--output`.
"""

import _figure
import numpy as np
import tensorflow as tf

import tfopt

START = np.array([1.0, 0.4])
SHOWN = 0.1


def tied(alpha):
    """f, of points whose coordinates come last."""
    return lambda x: (x[..., 0] - x[..., 1]) ** 2 + alpha * tf.reduce_sum(x**2, axis=-1)


def run(method, alpha):
    """Iterates of a run to the minimum, the start first."""
    iterates = [START]
    end = tfopt.minimize(
        tied(alpha),
        START,
        method,
        tol=1e-6,
        max_evaluations=20_000,
        callback=lambda result: iterates.append(result.x.numpy()),
    )
    return np.array([*iterates, end.x.numpy()])


def measure(smoke):
    """Iterates of both methods for several α."""
    alphas = (1.0, 0.1, 0.02) if smoke else (1.0, 0.1, 0.01)
    coordinates = {alpha: run(tfopt.CoordinateDescent(), alpha) for alpha in alphas}
    return {"coordinates": coordinates, "newton": {alpha: run(tfopt.Newton(), alpha) for alpha in alphas}}


def draw(found):
    """The staircase on the contour, and f against the iteration."""
    figure, (left, right) = _figure.panels(2)
    _figure.contours(left, _figure.on_grid(tied(SHOWN)), (-0.3, 1.2, -0.3, 1.2))
    paths = {
        "coordinate descent": found["coordinates"][SHOWN],
        "Newton": found["newton"][SHOWN],
    }
    for number, (name, path) in enumerate(paths.items()):
        left.plot(*path.T, label=f"{name}: {len(path) - 1} steps", **_figure.look(number, len(path), 100))
    for number, (alpha, path) in enumerate(found["coordinates"].items()):
        label = f"coordinate descent, α = {alpha:g}: {len(path) - 1} steps"
        right.loglog(
            np.arange(1, len(path) + 1), tied(alpha)(path), label=label, **_figure.look(number, len(path))
        )
    _figure.star(left, (0, 0))
    left.set(xlabel="x₁", ylabel="x₂", title=f"α = {SHOWN:g}")
    right.set(xlabel="1 + iteration", ylabel="f(x)", ylim=(1e-15, 1e4), title="As α falls")
    left.legend(loc="lower right")
    right.legend(loc="upper right")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "coordinate_descent", measure, draw, arguments)


if __name__ == "__main__":
    main()
