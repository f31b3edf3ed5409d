"""Momentum against plain gradient descent on an ill-conditioned quadratic (chapter section 4.2).

J(θ) = ½ (x² + 100 y²), condition number 100. Plain descent, with the constant step length that is
best for it, swings across the valley and hardly moves along it; momentum adds up what the gradients
have in common and cancels what they do not.

Run ``python examples/chapter/momentum.py``: writes ``momentum.png`` to `--output`.
"""

import _figure
import numpy as np

import tfopt

STEEP, FLAT = 100.0, 1.0
START = (-10.0, 1.0)
TARGET = 1e-3


def valley(point):
    """J."""
    return 0.5 * (FLAT * point[..., 0] ** 2 + STEEP * point[..., 1] ** 2)


def methods():
    """Descent with the step length that is best for it, and momentum, by name."""
    return {
        "gradient descent": tfopt.SGD(2.0 / (STEEP + FLAT)),
        "momentum, α = 0.9": tfopt.Momentum(0.4 / STEEP, momentum=0.9),
    }


def measure(smoke):
    """The path of each method, J along it, and the steps until it stays below the target."""
    paths = {
        name: _figure.walk(made, valley, START, 300 if smoke else 400) for name, made in methods().items()
    }
    values = {name: valley(path) for name, path in paths.items()}
    steps = {name: int(np.flatnonzero(row > TARGET)[-1]) + 1 for name, row in values.items()}
    return {"paths": paths, "values": values, "steps": steps}


def draw(found):
    """The paths on the contour, and J against the step."""
    figure, (left, right) = _figure.panels(2)
    _figure.contours(left, _figure.on_grid(valley), (-11, 4, -1.3, 1.9))
    for number, (name, path) in enumerate(found["paths"].items()):
        left.plot(*path[:40].T, label=name, **_figure.look(number, 40, 40))
        values = found["values"][name]
        label = f"{name}: {found['steps'][name]} steps to {TARGET:g}"
        right.semilogy(values, label=label, **_figure.look(number, len(values)))
    _figure.star(left, (0, 0))
    right.axhline(TARGET, color="0.5", linewidth=0.8)
    left.set(xlabel="x", ylabel="y", title="The first 40 steps")
    right.set(xlabel="step", ylabel="J(θ)", ylim=(1e-8, 1e3), title="Condition number 100")
    left.legend(loc="upper right", ncols=2)
    right.legend(loc="upper right")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "momentum", measure, draw, arguments)


if __name__ == "__main__":
    main()
