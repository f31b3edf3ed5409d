"""Burgers' equation by a physics-informed network: Adam, Adam then L-BFGS, and L-BFGS alone, in plain `fit`.

    u_t + u u_x = ν u_xx,    −1 ≤ x ≤ 1, 0 ≤ t ≤ 1,    u(0, x) = −sin πx,    u(t, ±1) = 0,    ν = 0.01/π

The network u(t, x) is an ordinary `keras.Model` whose loss, in `compute_loss`, is the mean square of what it
leaves over of the equation at points inside, with its derivatives by `tf.GradientTape`, and of its error at
points on the edge. The solution steepens to a shock at x = 0; Cole and Hopf's transformation gives it
exactly, to compare with.

Run ``python examples/physics_informed.py``: prints a table, writes a figure and a JSON file to `--output`.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tfopt

NU = 0.01 / np.pi
WAYS = ("Adam", "Adam, then LBFGS", "LBFGS")


class BurgersNetwork(keras.Model):
    """u(t, x) as a dense network; its inputs are points inside and points on the edge."""

    def __init__(self, width=20, depth=4, dtype="float32"):
        super().__init__(dtype=dtype)
        hidden = [keras.layers.Dense(width, "tanh", dtype=dtype) for _ in range(depth)]
        self.net = keras.Sequential(
            [keras.Input((2,), dtype=dtype), *hidden, keras.layers.Dense(1, dtype=dtype)]
        )

    def call(self, points):
        """u at the points on the edge."""
        return self.net(points["edge"])

    def residual(self, points):
        """u_t + u u_x − ν u_xx."""
        t, x = points[:, :1], points[:, 1:]
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch((t, x))
                u = self.net(tf.concat([t, x], axis=1))
            u_t, u_x = first.gradient(u, (t, x))
        return u_t + u * u_x - NU * second.gradient(u_x, x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean squares of the residual inside and of the error on the edge."""
        return tf.reduce_mean(self.residual(x["inside"]) ** 2) + tf.reduce_mean((y_pred - y) ** 2)


def points_of(inside, edge, seed=0):
    """Points (t, x): uniform inside, and on the three sides where u is given; with u there."""
    rng = np.random.default_rng(seed)
    within = rng.uniform((0.0, -1.0), (1.0, 1.0), size=(inside, 2))
    start = np.stack([np.zeros(edge), rng.uniform(-1.0, 1.0, edge)], axis=1)
    walls = np.stack([rng.uniform(0.0, 1.0, edge), np.repeat([-1.0, 1.0], edge // 2)], axis=1)
    values = np.concatenate([-np.sin(np.pi * start[:, 1]), np.zeros(edge)])
    return {"inside": within, "edge": np.concatenate([start, walls])}, values[:, None]


def exact(t, x, order=100):
    """Cole and Hopf's solution, its integrals over the real line by Gauss and Hermite's rule.

    u(t, x) = −∫ sin(π(x − η)) f(x − η) e^(−η²/4νt) dη / ∫ f(x − η) e^(−η²/4νt) dη,   f(y) = e^(−cos(πy)/2πν)
    """
    nodes, weights = np.polynomial.hermite.hermgauss(order)
    y = x[..., None] - np.sqrt(4.0 * NU * np.maximum(t, 1e-12))[..., None] * nodes
    exponent = -np.cos(np.pi * y) / (2.0 * np.pi * NU)
    factor = weights * np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    return -(factor * np.sin(np.pi * y)).sum(-1) / factor.sum(-1)


def grid(count):
    """A regular grid over the whole domain: t and x, each [count, 2 count − 1]."""
    return np.meshgrid(np.linspace(0.0, 1.0, count), np.linspace(-1.0, 1.0, 2 * count - 1), indexing="ij")


def solution_of(model, t, x):
    """The network's u on a grid."""
    points = np.stack([t.ravel(), x.ravel()], axis=1).astype(model.net.dtype)
    return model.net.predict(points, batch_size=len(points), verbose=0).reshape(t.shape)


def relative_error(model, t, x):
    """‖u − u_exact‖ / ‖u_exact‖ over the grid."""
    truth = exact(t, x)
    return float(np.linalg.norm(solution_of(model, t, x) - truth) / np.linalg.norm(truth))


def train(way, options, dtype):
    """A network trained one of the `WAYS`, and what it took."""
    keras.utils.set_random_seed(options.seed)
    x, y = points_of(options.inside, options.edge, options.seed)
    x, y = ({name: part.astype(dtype) for name, part in x.items()}, y.astype(dtype))
    batches = tfopt.data.full_batch(tf.data.Dataset.from_tensors((x, y)))
    model = BurgersNetwork(options.width, options.depth, dtype)
    first = {"Adam": options.evaluations, "LBFGS": 0}.get(way, options.evaluations // 4)
    seconds, callbacks = 0.0, [tfopt.callbacks.EvaluationWeights()]
    for optimizer, evaluations in (
        (tfopt.Adam(keras.optimizers.schedules.CosineDecay(5e-3, max(first, 1))), first),
        (tfopt.LBFGS(history=50), options.evaluations - first),
    ):
        if evaluations:
            model.compile(optimizer, jit_compile=options.jit)
            model.fit(batches, steps_per_epoch=1, verbose=0, callbacks=callbacks)  # compiles
            begin = time.perf_counter()
            model.fit(batches, steps_per_epoch=evaluations - 1, verbose=0, callbacks=callbacks)
            seconds += time.perf_counter() - begin
    return model, {
        "way": way,
        "dtype": dtype,
        "evaluations": options.evaluations,
        "seconds": seconds,
        "loss": float(model.evaluate(batches, steps=1, verbose=0)),
        "error": relative_error(model, *grid(101)),
    }


def table_of(rows):
    """The rows as a table to print."""
    table = Table("Way", "Precision", "Evaluations", "Seconds", "Loss", "Relative error")
    for row in rows:
        numbers = (
            f"{row['evaluations']:,}",
            f"{row['seconds']:.0f}",
            f"{row['loss']:.1e}",
            f"{row['error']:.1e}",
        )
        table.add_row(row["way"], row["dtype"], *numbers)
    return table


def draw(models, path):
    """The solution, and each network's distance from it, over the domain."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    t, x = grid(101)
    truth = exact(t, x)
    figure, axes = pyplot.subplots(
        1, len(models) + 1, figsize=(4 * len(models) + 4, 3.2), layout="constrained"
    )
    shown = axes[0].pcolormesh(t, x, truth, cmap="coolwarm", shading="gouraud")
    axes[0].set(title="u, exact", xlabel="t", ylabel="x")
    figure.colorbar(shown, ax=axes[0])
    for axis, (title, model) in zip(axes[1:], models, strict=True):
        error = np.log10(np.abs(solution_of(model, t, x) - truth) + 1e-8)
        shown = axis.pcolormesh(t, x, error, cmap="viridis", shading="gouraud", vmin=-6, vmax=0)
        axis.set(title=title, xlabel="t")
    figure.colorbar(shown, ax=axes[1:], label="log₁₀ |u − exact|")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=3000, help="of loss and gradient, for each way")
    parser.add_argument("--inside", type=int, default=4000, help="points inside the domain")
    parser.add_argument("--edge", type=int, default=200, help="points at t = 0, and as many at x = ±1")
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"], choices=["float32", "float64"])
    parser.add_argument("--jit", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("physics_informed"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    console, rows, models = Console(), [], []
    for dtype in options.dtypes:
        for way in WAYS:
            with console.status(f"{way}, {dtype}"):
                model, row = train(way, options, dtype)
            rows.append(row)
            models.append((f"{way}, {dtype}", model))
    console.print(table_of(rows))
    draw(models, options.output / "burgers.png")
    (options.output / "burgers.json").write_text(json.dumps(rows, indent=1) + "\n")
    console.print(f"The figure is {options.output / 'burgers.png'}")


if __name__ == "__main__":
    main()
