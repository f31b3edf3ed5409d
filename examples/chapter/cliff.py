"""The cliff of a recurrent unit, descended with and without clipping (chapter section 2.4).

A unit h ← σ(w h + b) runs for 50 steps from h = ½, and J(w, b) = (h − 0.7)² at the end. Where a small change
of the weights makes the unit switch, 50 factors multiply and J has a wall. Plain descent reaches its edge, is
thrown across the plane by one gradient and ends on the plateau; with `tfopt.transforms.AdaptiveClip` no step
is longer than a share of the weights, and it follows the edge down.

Run ``python examples/chapter/cliff.py``: writes ``cliff.png`` to `--output`.
"""

import _figure
import numpy as np
import tensorflow as tf

import tfopt

TIME_STEPS, START, RATE, CLIPPING = 50, (6.0, -2.2), 1.0, 0.02
WINDOW = (3.0, 8.0, -4.0, 2.0)


def cost(point):
    """J, of tensors or arrays."""
    w, b = point[..., 0], point[..., 1]
    h = tf.fill(tf.shape(w), tf.constant(0.5, w.dtype))
    for _ in range(TIME_STEPS):
        h = tf.sigmoid(w * h + b)
    return (h - 0.7) ** 2


def measure(smoke):
    """Paths, costs along them, and the length of every step."""
    steps = 100 if smoke else 150
    methods = {
        "without clipping": tfopt.SGD(RATE),
        "AdaptiveClip": tfopt.transforms.AdaptiveClip(tfopt.SGD(RATE), clipping=CLIPPING),
    }
    paths = {name: _figure.walk(made, cost, START, steps) for name, made in methods.items()}
    lengths = {name: np.linalg.norm(np.diff(path, axis=0), axis=1) for name, path in paths.items()}
    return {"paths": paths, "costs": {n: cost(p).numpy() for n, p in paths.items()}, "lengths": lengths}


def draw(found):
    """The paths on the contour, and the length of the steps."""
    figure, (left, right) = _figure.panels(2)
    _figure.contours(left, _figure.on_grid(cost), WINDOW, np.linspace(0.0, 0.5, 26))
    for number, (name, path) in enumerate(found["paths"].items()):
        label = f"{name}: J ends at {found['costs'][name][-1]:.2g}"
        left.plot(*path.T, label=label, **_figure.look(number, len(path), 50))
        lengths = found["lengths"][name]
        label = f"{name}, at most {lengths.max():.2g}"
        right.semilogy(np.arange(1, len(path)), lengths, label=label, **_figure.look(number, len(path)))
    left.plot(*START, "x", color="black", markersize=9, markeredgewidth=2, label="start", zorder=5)
    left.set(xlabel="w", ylabel="b", title="A wall in the cost of a recurrent unit")
    right.set(xlabel="step", ylabel="length of the step", ylim=(1e-3, 30), title="One step throws it away")
    left.legend(loc="upper right")
    right.legend(loc="upper right")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "cliff", measure, draw, arguments)


if __name__ == "__main__":
    main()
