"""trajectories: paths of optimizers over a function of two variables, drawn on its contour lines."""

import dataclasses
import inspect
import pathlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfopt import optimizers as optimizers_of_tfopt
from tfopt._check import is_number, require, require_choice, require_integer
from tfopt._figure import panels
from tfopt.analysis._figure import DASHES, MARKERS, contours
from tfopt.analysis._surface import SURFACES, Surface
from tfopt.analysis._walk import RATES, Walker
from tfopt.minimize import minimize
from tfopt.optimizers import DIRECTION_METHODS

CHAPTER = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
OWNER = "trajectories"


class Path(NamedTuple):
    """The path of one optimizer.

    Attributes:
        label: Its name in the figures.
        learning_rate: ε; None where it is a schedule's or a line search's.
        points: Where it was, from the start on, as long as that is finite, an array of shape (points, 2).
        heights: Height above the lowest point known of the function there.
    """

    label: str
    learning_rate: float | None
    points: np.ndarray
    heights: np.ndarray


class Trajectories(NamedTuple):
    """Paths of several optimizers over one function.

    Attributes:
        paths: A `Path` for each optimizer.
        surface: The function, with ``title``, ``start``, ``minima``, ``saddle`` and ``window``.
    """

    paths: tuple
    surface: Any

    def plot(self):
        """Draw the paths on the contour lines, and beside it the height against the number of the point.

        Line styles and markers differ, so that the figure can be read in black and white. The start is a
        square, minima are stars, a saddle is a cross.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show and `savefig` writes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        plane, falls = panels(OWNER, 2, height=4.2)
        _draw_surface(plane, self.surface)
        for path, look in zip(self.paths, _looks(len(self.paths)), strict=True):
            plane.plot(*path.points.T, **look, markevery=_every(path), label=_legend(path))
            falls.plot(np.maximum(path.heights, 1e-12), **look, markevery=_every(path))
        falls.set(yscale="log", xlabel="step", ylabel="height above the minimum", title="Height")
        falls.figure.legend(loc="outside lower center", ncols=4, fontsize=8, handlelength=3.5)
        return falls.figure

    def animate(self, frames=60):
        """The paths growing on the contour lines, as an animation.

        Args:
            frames: Number of pictures, >= 2; the last one shows the whole paths.

        Returns:
            A `matplotlib.animation.FuncAnimation`, which ``to_jshtml()`` shows in notebooks.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: If `frames` is out of its range.
        """
        require_integer("animate", 2, frames=frames)
        (plane,) = panels(OWNER, 1, width=6.4, height=4.8)
        from matplotlib.animation import FuncAnimation
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        _draw_surface(plane, self.surface)
        looks = _looks(len(self.paths))
        lines = [
            plane.plot([], [], **look, label=_legend(path))[0]
            for path, look in zip(self.paths, looks, strict=True)
        ]
        plane.figure.legend(loc="outside lower center", ncols=4, fontsize=8, handlelength=3.5)
        longest = max(len(path.points) for path in self.paths)
        counts = np.unique(np.linspace(1, longest, frames).round().astype(int))

        def show(count):
            for line, path in zip(lines, self.paths, strict=True):
                points = path.points[:count]
                line.set_data(*points.T)
                # The marker stands where the path has got to.
                line.set_markevery([len(points) - 1])
            return lines

        # A figure that pyplot does not know has a canvas that cannot draw pixels.
        FigureCanvasAgg(plane.figure)
        # Laid out once, not for every picture.
        plane.figure.draw_without_rendering()
        plane.figure.set_layout_engine("none")
        return FuncAnimation(plane.figure, show, frames=[*counts, counts[-1]], interval=80, blit=False)

    def save(self, path, frames=60, dpi=110):
        """Write a picture or, where the name ends in .gif, an animation.

        Args:
            path: File name; .gif, or what matplotlib writes: .png, .svg, .pdf.
            frames: Number of pictures of an animation.
            dpi: Pixels per inch.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: If the ending is none that can be written.
        """
        ending = pathlib.Path(path).suffix.lower()
        require_choice("save", (".gif", ".png", ".svg", ".pdf"), path=ending)
        if ending != ".gif":
            self.plot().savefig(path, dpi=dpi)
            return
        moving = self.animate(frames)
        from matplotlib.animation import PillowWriter

        moving.save(path, writer=PillowWriter(fps=12), dpi=dpi)


def trajectories(optimizers=None, function="valley", start=None, *, steps=100, window=None):
    """Paths of optimizers over a function of two variables, as a picture and as an animation.

    Each optimizer starts at the same point and takes the gradient of the function itself, as with a full
    batch. The two functions of the chapter's comparison::

        "valley"  x²/100 + y², from (−8, 2): along x a hundred times flatter than across
        "saddle"  4x² − y²/2 + y⁴/4, from (−1, 10⁻⁶): a saddle at the origin between the minima (0, ±1)

    On the first AdaGrad, RMSProp and AdaDelta find the direction at once, plain descent finds it slowly,
    momentum and Nesterov's leave it first; at the second plain descent stays, momentum and Nesterov's leave
    late, the adaptive ones early.

    First-order methods take one gradient per point; the points are the weights that they stand for (the
    iterate or average). Methods with a line search run through `minimize`: a point for each iteration, until
    converged or `steps` evaluations are spent.

    Args:
        optimizers: A list of optimizers, or a dictionary from labels to them. An instance is copied and runs
            as it is; a class of tfopt or Keras gets of the learning rates 0.01, 0.03, …, 30 the one that
            comes down fastest and stays inside the window. None takes the chapter's and Adam.
        function: "valley", "saddle", or a function (x, y) -> height of two TensorFlow scalars.
        start: (x, y); None takes that of the surface, which a function of your own has not.
        steps: Number of gradients per path, >= 1.
        window: (x from, x to, y from, y to) of the figure. None takes that of the surface; for a function of
            your own what holds all paths, and then only instances and line searches have a rate.

    Returns:
        `Trajectories`, with ``paths``, each with ``label``, ``learning_rate``, ``points`` and ``heights``,
        and with ``plot()``, ``animate()`` and ``save(path)``.

    Raises:
        ValueError: If an argument lies outside its range, or an optimizer cannot walk alone.

    Example:
        >>> import tfopt
        >>> made = tfopt.analysis.trajectories([tfopt.SGD(0.5), tfopt.ConjugateGradient()], steps=20)
        >>> [path.label for path in made.paths], made.paths[0].points[:2].tolist()  # 2 − 0.5·4 = 0
        (['SGD', 'ConjugateGradient'], [[-8.0, 2.0], [-7.920000076293945, 0.0]])
        >>> bool(made.paths[1].heights[-1] < 1e-9)
        True

    Source: chapter section 5.5.
    """
    require_integer(OWNER, 1, steps=steps)
    named = _named(_chapter() if optimizers is None else optimizers)
    surface = _surface(function, start, window)
    paths = [_path(label, one, surface, steps) for label, one in named.items()]
    if isinstance(surface, _Own):
        surface = surface.around([points for _, _, points in paths])
    made = tuple(Path(label, rate, points, surface.heights(points)) for label, rate, points in paths)
    return Trajectories(made, surface)


# -- what is walked on ------------------------------------------------------------------------------------


def _surface(function, start, window):
    known = {surface.name: surface for surface in SURFACES}
    good = callable(function) or (isinstance(function, str) and function in known)
    require(good, OWNER, "function", function, f"a function of x and y, or one of {', '.join(known)}")
    if start is not None:
        require(_numbers(start, 2), OWNER, "start", start, "two finite numbers, x and y")
    if window is not None:
        good = _numbers(window, 4) and window[0] < window[1] and window[2] < window[3]
        require(good, OWNER, "window", window, "(x from, x to, y from, y to), rising")
    if not callable(function):
        found = known[function]
        start = found.start if start is None else tuple(map(float, start))
        return dataclasses.replace(found, start=start, window=tuple(window or found.window))
    require(start is not None, OWNER, "start", start, "where to start, (x, y), on a function of your own")
    surface = _Own("function", "Function", function, (float(start[0]), float(start[1])), (), None, window)
    return surface if window is None else surface.with_lowest()


class _Own(Surface):
    """A function of the user's, of scalars; the lowest point of a grid stands for its minimum."""

    def values(self, x, y):
        """Heights at arrays of points."""
        points = tf.constant(np.stack([np.ravel(x), np.ravel(y)], axis=1), tf.float32)
        one = lambda point: _scalar(self.height(point[0], point[1]))  # noqa: E731
        # In a graph: one by one in Python takes seconds.
        found = tf.function(lambda rows: tf.map_fn(one, rows), autograph=False)(points)
        return np.reshape(found.numpy().astype(float), np.shape(x))

    def with_lowest(self, further=()):
        """The surface with the lowest point of a grid over its window, or of further points."""
        left, right, bottom, top = self.window
        x, y = np.meshgrid(np.linspace(left, right, 61), np.linspace(bottom, top, 61))
        points = np.concatenate([np.stack([x.ravel(), y.ravel()], axis=1), *further])
        values = self.values(*points.T)
        finite = np.isfinite(values)
        require(finite.any(), OWNER, "function", self.height, "a function that is finite somewhere")
        lowest = points[finite][np.argmin(values[finite])]
        return dataclasses.replace(self, minima=(tuple(lowest.tolist()),))

    def around(self, paths):
        """The surface with a window that holds all paths, if it has none, and their lowest point."""
        made = self
        if self.window is None:
            points = np.concatenate(paths)
            low, high = points.min(axis=0), points.max(axis=0)
            margin = 0.15 * np.maximum(high - low, 0.1 * max(*(high - low), 1e-6))
            (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
            made = dataclasses.replace(self, window=(left, right, bottom, top))
        return made.with_lowest(paths)


def _scalar(value):
    value = tf.convert_to_tensor(value)
    good = value.shape.rank == 0 and value.dtype.is_floating
    require(good, OWNER, "function", f"a value of shape {value.shape}", "a real scalar for scalars x and y")
    return tf.cast(value, tf.float32)


# -- who walks --------------------------------------------------------------------------------------------


def _chapter():
    return [getattr(optimizers_of_tfopt, name) for name in CHAPTER]


def _named(optimizers):
    """Label -> optimizer; names that come more than once are counted."""
    if isinstance(optimizers, dict):
        named = {str(label): one for label, one in optimizers.items()}
    else:
        require(
            isinstance(optimizers, (list, tuple)), OWNER, "optimizers", optimizers, "a list or dictionary"
        )
        named = {}
        for one in optimizers:
            name = one.__name__ if inspect.isclass(one) else type(one).__name__
            seen = sum(label == name or label.startswith(f"{name} (") for label in named)
            named[f"{name} ({seen + 1})" if seen else name] = one
    require(named, OWNER, "optimizers", optimizers, "at least one optimizer")
    for one in named.values():
        cls = one if inspect.isclass(one) else type(one)
        good = issubclass(cls, keras.optimizers.Optimizer)
        require(good, OWNER, "optimizers", one, "optimizers of tfopt or Keras, or their classes")
    return named


def _path(label, one, surface, steps):
    """(label, learning rate, points) of one optimizer."""
    cls: Any = one if inspect.isclass(one) else type(one)
    if cls in [getattr(optimizers_of_tfopt, name) for name in DIRECTION_METHODS]:
        return label, None, _searched(cls() if inspect.isclass(one) else _copy(one), surface, steps)
    function = surface.height if not isinstance(surface, _Own) else lambda x, y: _scalar(surface.height(x, y))
    try:
        if inspect.isclass(one):
            walker = Walker(lambda rate: cls(learning_rate=rate), RATES[0], [function])
            require(
                surface.window is not None, OWNER, "window", None, f"a window, to choose {label}'s rate in"
            )
            rate = walker.best_rate(surface, 0, RATES, steps)
        else:
            walker, rate = Walker(lambda _: _copy(one), None, [function]), _rate_of(one)
        points = np.array(walker.path(0, surface.start, rate, steps))
    except (TypeError, NotImplementedError) as error:
        said = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{OWNER}(optimizers={label}): expected an optimizer that can walk alone; it says: {said}"
        ) from error
    return label, rate, points


def _searched(optimizer, surface, steps):
    """The iterates of a method with a line search."""
    points = [np.array(surface.start, float)]

    def note(result):
        points.append(result.x.numpy())

    start = tf.constant(surface.start, tf.float32)
    function = surface.height
    minimize(lambda x: function(x[0], x[1]), start, optimizer, max_evaluations=steps, callback=note)
    return np.array(points)


def _copy(optimizer):
    return type(optimizer).from_config(optimizer.get_config())


def _rate_of(optimizer):
    rate = optimizer.get_config().get("learning_rate")
    return float(rate) if is_number(rate) else None


def _numbers(values, count):
    good = isinstance(values, (list, tuple, np.ndarray)) and len(values) == count
    return good and all(is_number(value) for value in values)


# -- drawing ----------------------------------------------------------------------------------------------


def _looks(count):
    """A line style and marker for each path, all different in black and white."""
    return [
        {
            "color": f"C{index % 10}",
            "linestyle": DASHES[index % len(DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
            "linewidth": 1.4,
            "markersize": 5,
            "markeredgecolor": "black",
            "markeredgewidth": 0.5,
        }
        for index in range(count)
    ]


def _every(path):
    return max(1, len(path.points) // 8)


def _legend(path):
    return path.label if path.learning_rate is None else f"{path.label}, ε = {path.learning_rate:g}"


def _draw_surface(axes, surface):
    x, y, heights, levels = contours(surface)
    axes.contour(x, y, heights, levels=np.unique(levels), colors="0.75", linewidths=0.7)
    signs = {"color": "black", "linestyle": "none", "zorder": 3}
    axes.plot(*surface.start, marker="s", markersize=7, **signs)
    for minimum in surface.minima:
        axes.plot(*minimum, marker="*", markersize=11, **signs)
    if surface.saddle is not None:
        axes.plot(*surface.saddle, marker="x", markersize=8, markeredgewidth=2, **signs)
    left, right, bottom, top = surface.window
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="x", ylabel="y", title=surface.title)
