"""SGD and its variants on the contour and at the saddle (chapter section 5.5).

On a long valley SGD finds the direction and crawls, momentum overshoots and comes back, the methods with a
step length for each weight turn early. Next to a saddle SGD stays longest, momentum leaves sooner, and a step
length for each weight leaves at once. All gradients are exact: the noise of minibatches would push SGD off.

Run ``python examples/chapter/variants.py``: writes ``variants.png`` to `--output`.
"""

import _figure
import numpy as np

import tfopt

METHODS = {
    "SGD": lambda: tfopt.SGD(0.1),
    "Momentum": lambda: tfopt.Momentum(0.1, momentum=0.9),
    "Nesterov": lambda: tfopt.Nesterov(0.1, momentum=0.9),
    "AdaGrad": lambda: tfopt.AdaGrad(0.5),
    "AdaDelta": lambda: tfopt.AdaDelta(1.0, rho=0.9, epsilon=1e-3),
    "RMSProp": lambda: tfopt.RMSProp(0.05, rho=0.9),
    "Adam": lambda: tfopt.Adam(0.1),
}
VALLEY_START, SADDLE_START = (-4.0, 1.5), (-1.0, 1e-4)


def valley(point):
    """J(θ) = x²/20 + y²."""
    return point[..., 0] ** 2 / 20 + point[..., 1] ** 2


def saddle(point):
    """J(θ) = 2x² − y²/2 + y⁴/4: a saddle at the origin between the minima (0, ±1)."""
    x, y = point[..., 0], point[..., 1]
    return 2 * x**2 - y**2 / 2 + y**4 / 4


def measure(smoke):
    """Path of every method on both surfaces."""
    steps = 80 if smoke else 120
    return {
        "valley": {n: _figure.walk(make(), valley, VALLEY_START, steps) for n, make in METHODS.items()},
        "saddle": {n: _figure.walk(make(), saddle, SADDLE_START, steps) for n, make in METHODS.items()},
    }


def left_at(path, away=0.5):
    """Step at which a path has left the saddle, None for never."""
    out = np.abs(path[:, 1]) > away
    return int(out.argmax()) if out.any() else None


def draw(found):
    """The paths on both surfaces, and how far from the saddle they are."""
    figure, (left, middle, right) = _figure.panels(3, width=4.0, height=3.6)
    _figure.contours(left, _figure.on_grid(valley), (-4.5, 2.0, -1.6, 2.0))
    _figure.contours(middle, _figure.on_grid(saddle), (-1.2, 1.0, -0.3, 1.5), np.linspace(-0.25, 2, 16))
    for number, name in enumerate(METHODS):
        path = found["valley"][name]
        left.plot(*path.T, label=name, **_figure.look(number, len(path), 12))
        path = found["saddle"][name]
        middle.plot(*path.T, **_figure.look(number, len(path), 20))
        right.semilogy(np.abs(path[:, 1]), label=name, **_figure.look(number, len(path)))
    _figure.star(left, (0, 0))
    _figure.star(middle, (0, 1), None)
    middle.plot(0, 0, "x", color="black", markersize=9, markeredgewidth=2, label="saddle", zorder=6)
    left.set(xlabel="x", ylabel="y", title="A long valley")
    middle.set(xlabel="x", ylabel="y", title="A saddle")
    right.set(xlabel="step", ylabel="|y|, distance from the saddle", title="Leaving the saddle")
    left.legend(loc="upper right", ncols=2)
    middle.legend(loc="upper right")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "variants", measure, draw, arguments)


if __name__ == "__main__":
    main()
