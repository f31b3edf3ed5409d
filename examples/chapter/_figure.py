"""What the chapter's pictures share: their command line, their look, and walks of an optimizer in the plane.

Every line has dashes and a marker of its own, and its shade of grey differs, so that a picture printed in
black and white says the same.
"""

import argparse
import pathlib

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 90
COLORS = 48
# Dark to light, so that they also differ in grey.
LOOKS = (
    dict(color="black", linestyle="-", marker="o"),
    dict(color="#d55e00", linestyle=(0, (5, 1.6)), marker="s"),
    dict(color="#0072b2", linestyle=(0, (1.5, 1.3)), marker="^"),
    dict(color="#8c8c8c", linestyle="-", marker="D"),
    dict(color="#6a3d9a", linestyle=(0, (6, 1.5, 1.2, 1.5)), marker="v"),
    dict(color="#b08900", linestyle=(0, (3, 1)), marker="P"),
    dict(color="#2a9d6e", linestyle=(0, (8, 2)), marker="X"),
)
RC = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.color": "0.9",
    "legend.fontsize": 8,
    "legend.frameon": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
}


def look(number, points, markers=8):
    """Keywords of `plot` for line `number` of a panel with so many points, of which a few are marked."""
    return LOOKS[number] | dict(markevery=max(1, points // markers))


def panels(count, width=4.2, height=3.3):
    """A new figure and its axes in one row."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def contours(axes, function, window, levels=12):
    """Grey contour lines of a function of two NumPy arrays; levels as for `Axes.contour`, or how many."""
    left, right, bottom, top = window
    x, y = np.meshgrid(np.linspace(left, right, 121), np.linspace(bottom, top, 121))
    heights = function(x, y)
    if isinstance(levels, int):
        levels = np.unique(np.quantile(heights, np.linspace(0.02, 0.98, levels)))
    axes.grid(visible=False)
    axes.contour(x, y, heights, levels=levels, colors="0.78", linewidths=0.7, zorder=0)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def on_grid(function):
    """The function of two arrays that a function of points, with the coordinates last, is."""
    return lambda x, y: np.asarray(function(np.stack([x, y], axis=-1)))


def star(axes, point, label="minimum"):
    """Mark a minimum."""
    axes.plot(*point, "*", color="black", markerfacecolor="white", markersize=11, label=label, zorder=5)


def walk(optimizer, function, start, steps, noise=None, every=1):
    """Points an optimizer stands for, the start first: shape (steps / every + 1, *start.shape).

    Args:
        optimizer: A Keras optimizer that has not been built.
        function: Function of a point, or of an array of points, which are then independent runs.
        start: Where it begins: a point or an array of points, with the coordinates last.
        steps: Number of gradients, a multiple of `every`.
        noise: Array (steps, *start.shape) that is added to the gradients, or None.
        every: Steps from one recorded point to the next.
    """
    position = keras.Variable(np.asarray(start), dtype="float32", name="position")
    optimizer.build([position])
    noise = np.zeros((steps, *position.shape)) if noise is None else noise

    @tf.autograph.experimental.do_not_convert
    def update(extra):
        point = tf.convert_to_tensor(position)
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = function(point)
        optimizer.apply([tape.gradient(value, point) + extra], [position])

    @tf.function
    def advance(extras):
        for extra in extras:
            update(extra)

    path = [position.numpy()]
    for extras in tf.reshape(tf.cast(noise, tf.float32), [-1, every, *position.shape]):
        advance(extras)
        path.append(shown(optimizer, position))
    return np.array(path)


def shown(optimizer, position):
    """The weights an optimizer stands for, which some keep apart from those it takes gradients at."""
    optimizer.to_evaluation_weights()
    weights = position.numpy()
    optimizer.to_training_weights()
    return weights


def save(figure, path):
    """Save as PNG of few colours, which is a third of the size and looks the same."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def command_line(description, name, measure, draw, arguments=None):
    """Measure, draw, save ``name.png``, and return what was measured.

    Args:
        description: The script's docstring.
        name: Name of the picture.
        measure: Function of `smoke`, whether to measure less; returns a dict.
        draw: Function of that dict; returns a figure.
        arguments: Of the command line, `sys.argv` for None.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run that only shows that it works")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("chapter"), help="folder")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    found = measure(options.smoke)
    path = options.output / f"{name}.png"
    with matplotlib.rc_context(RC):
        save(draw(found), path)
    print(f"The figure is {path}")
    return found
