"""Steepest descent's zig-zag against conjugate gradients (chapter section 7).

Both search every line exactly. Each line of steepest descent is at right angles to the one before and undoes
part of its gain; conjugate directions keep it, and end in as many steps as there are dimensions: 2 in the
plane, and 20 on a quadratic of 20 different curvatures.

Run ``python examples/chapter/conjugate_gradients.py``: writes ``conjugate_gradients.png`` to `--output`.
"""

import _figure
import numpy as np
import tensorflow as tf

import tfopt

PLANE, PLANE_START = np.array([1.0, 12.0]), np.array([12.0, 1.0])
SPACE = np.linspace(1.0, 100.0, 20)
TOLERANCE = 1e-8
METHODS = {
    "steepest descent": lambda: tfopt.SteepestDescent(line_search="exact"),
    "conjugate gradients": lambda: tfopt.ConjugateGradient(beta="exact"),
}


def quadratic(curvatures):
    """J(θ) = ½ Σ cᵢ θᵢ²."""
    return lambda point: tf.reduce_sum(0.5 * curvatures * point**2, axis=-1)


def run(method, curvatures, start, evaluations):
    """Iterates, the start first, and their values."""
    iterates = [start]
    end = tfopt.minimize(
        quadratic(curvatures),
        start,
        method,
        tol=TOLERANCE,
        max_evaluations=evaluations,
        callback=lambda result: iterates.append(result.x.numpy()),
    )
    iterates.append(end.x.numpy())
    return np.array(iterates), quadratic(curvatures)(np.array(iterates)).numpy()


def measure(smoke):
    """Paths in the plane, and values in 20 dimensions."""
    plane = {name: run(make(), PLANE, PLANE_START, 200)[0] for name, make in METHODS.items()}
    budget = 250 if smoke else 1000
    space = {name: run(make(), SPACE, np.ones(len(SPACE)), budget)[1] for name, make in METHODS.items()}
    return {"plane": plane, "space": space}


def draw(found):
    """The paths on the contour, and the values against the iteration."""
    figure, (left, right) = _figure.panels(2)
    _figure.contours(left, _figure.on_grid(quadratic(PLANE)), (-2.5, 13, -1.5, 2.1), np.arange(1, 12) ** 2)
    for number, (name, path) in enumerate(found["plane"].items()):
        left.plot(*path.T, label=f"{name}: {len(path) - 1} steps", **_figure.look(number, len(path), 100))
        values = found["space"][name]
        right.semilogy(values, label=name, **_figure.look(number, len(values)))
    _figure.star(left, (0, 0))
    right.axvline(len(SPACE), color="0.5", linewidth=0.8)
    right.annotate("20 steps", (len(SPACE), 1e2), (4, 0), textcoords="offset points")
    left.set(xlabel="x", ylabel="y", title="In the plane")
    right.set(xlabel="iteration", ylabel="J(θ)", ylim=(1e-14, 1e4), title="In 20 dimensions")
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "conjugate_gradients", measure, draw, arguments)


if __name__ == "__main__":
    main()
