"""Functions of the plane with a figure around them: a long valley and a saddle."""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Surface:
    """A function of two variables, and a start from which it is hard.

    Attributes:
        name: Short name.
        title: What a figure calls it.
        height: Function of x and y.
        start: Where every optimizer begins.
        minima: Lowest points.
        saddle: Saddle point, or None.
        window: (x from, x to, y from, y to) of the figure.
    """

    name: str
    title: str
    height: Callable
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    saddle: tuple[float, float] | None
    window: tuple[float, float, float, float]

    def heights(self, path):
        """Height above the minimum at every point of a path, shape (points, 2)."""
        x, y = np.asarray(path, np.float64).T
        return self.values(x, y) - self.values(*np.array(self.minima[0]))

    def values(self, x, y):
        """Heights at arrays of points."""
        return self.height(x, y)

    def contains(self, path):
        """Whether a path stays inside the figure."""
        x, y = np.asarray(path, np.float64).T
        left, right, bottom, top = self.window
        return bool(np.all((left <= x) & (x <= right) & (bottom <= y) & (y <= top)))


def valley_height(x, y):
    """x²/100 + y²: along x a hundred times flatter than across."""
    return x * x / 100.0 + y * y


def saddle_height(x, y):
    """4x² − y²/2 + y⁴/4: a saddle at the origin between the minima (0, ±1)."""
    return 4.0 * x * x - 0.5 * y * y + 0.25 * y * y * y * y


VALLEY = Surface(
    "valley", "Long valley", valley_height, (-8.0, 2.0), ((0.0, 0.0),), None, (-10.0, 6.0, -3.2, 3.2)
)
SADDLE = Surface(
    "saddle",
    "Saddle",
    saddle_height,
    (-1.0, 1e-6),
    ((0.0, 1.0), (0.0, -1.0)),
    (0.0, 0.0),
    (-1.3, 1.0, -0.6, 1.5),
)
SURFACES = (VALLEY, SADDLE)
