"""Every optimizer on two surfaces in the plane: a long valley and a saddle."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfopt.compare.restart import restart_optimizer

EVALUATIONS = 100
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# Heights below this count as arrived, so that no optimizer is chosen for its last decimals.
FLOOR = 1e-4


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
        return self.height(x, y) - self.height(*self.minima[0])

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


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The path of one optimizer on one surface.

    Attributes:
        optimizer: Canonical name.
        surface: Name of the surface.
        learning_rate: ε.
        path: Points (x, y) from the start on, one per gradient evaluation, as long as they are finite: the
            weights the optimizer stands for.
        heights: Height above the minimum at these points.
    """

    optimizer: str
    surface: str
    learning_rate: float
    path: tuple[tuple[float, float], ...]
    heights: tuple[float, ...]

    @classmethod
    def from_json(cls, values):
        """A trajectory from the plain values of `dataclasses.asdict`."""
        path = tuple((x, y) for x, y in values["path"])
        return cls(**(values | {"path": path, "heights": tuple(values["heights"])}))


class Walker:
    """Walks one optimizer over the surfaces, full batch, through Keras' public `apply`.

    Args:
        spec: `OptimizerSpec`.
    """

    def __init__(self, spec):
        self.spec = spec
        self.position = keras.Variable([0.0, 0.0], name="position")
        self.optimizer = spec.build(spec.default_rate)
        self.optimizer.build([self.position])
        self._walk = tf.function(self._walk_eagerly)

    def best(self, surface, rates=RATES, evaluations=EVALUATIONS):
        """The trajectory at the rate that comes down fastest and stays inside the figure.

        Args:
            surface: `Surface`.
            rates: Learning rates to try.
            evaluations: Length of the path.

        Returns:
            `Trajectory`.
        """
        rate = min(
            rates, key=lambda rate: slowness(surface, self._gradient_points(surface, rate, evaluations))
        )
        return self.walk(surface, rate, evaluations)

    def walk(self, surface, rate, evaluations=EVALUATIONS):
        """The trajectory at one learning rate.

        Args:
            surface: `Surface`.
            rate: Learning rate.
            evaluations: Length of the path.

        Returns:
            `Trajectory` of the weights that the optimizer stands for.
        """
        if not hasattr(self.optimizer, "to_evaluation_weights"):
            path = self._gradient_points(surface, rate, evaluations)
        else:
            self._restart(surface, rate)
            path = [surface.start, *(self._step_and_show(surface) for _ in range(evaluations))]
        path = list(itertools.takewhile(lambda point: np.all(np.isfinite(point)), path))
        path = [(float(x), float(y)) for x, y in path]
        return Trajectory(
            self.spec.label, surface.name, rate, tuple(path), tuple(surface.heights(path).tolist())
        )

    def _restart(self, surface, rate):
        self.position.assign(surface.start)
        restart_optimizer(self.optimizer, self.spec.build(rate), [self.position])

    def _gradient_points(self, surface, rate, evaluations):
        """Where gradients are taken: shape (evaluations + 1, 2), the last one untaken."""
        self._restart(surface, rate)
        return np.vstack([surface.start, self._walk(_index(surface), tf.constant(evaluations)).numpy()])

    def _step_and_show(self, surface):
        self._walk(_index(surface), tf.constant(1))
        self.optimizer.to_evaluation_weights()
        shown = self.position.numpy()
        self.optimizer.to_training_weights()
        return shown

    def _walk_eagerly(self, index, evaluations):
        points = tf.TensorArray(tf.float32, evaluations, element_shape=(2,))
        for step in tf.range(evaluations):
            points = points.write(step, self._update(index))
        return points.stack()

    @tf.autograph.experimental.do_not_convert
    def _update(self, index):
        branches = [lambda surface=surface: self._gradient(surface) for surface in SURFACES]
        self.optimizer.apply([tf.switch_case(index, branches)], [self.position])
        return tf.convert_to_tensor(self.position)

    def _gradient(self, surface):
        position = tf.convert_to_tensor(self.position)
        with tf.GradientTape() as tape:
            tape.watch(position)
            height = surface.height(position[0], position[1])
        return tape.gradient(height, position)


def slowness(surface, path):
    """Mean of log(height + floor) along a path; +∞ if it leaves the figure."""
    if not (np.all(np.isfinite(path)) and surface.contains(path)):
        return math.inf
    return float(np.mean(np.log(surface.heights(path) + FLOOR)))


def _index(surface):
    return tf.constant(SURFACES.index(surface))
