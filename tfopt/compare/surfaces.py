"""Every optimizer on two surfaces in the plane: a long valley and a saddle."""

import dataclasses

from tfopt.analysis import _walk
from tfopt.analysis._surface import SURFACES

EVALUATIONS = 100


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
    """Walks one optimizer over the surfaces.

    Args:
        spec: `OptimizerSpec`.
    """

    def __init__(self, spec):
        self.spec = spec
        functions = [surface.height for surface in SURFACES]
        self._walker = _walk.Walker(spec.build, spec.default_rate, functions)

    def best(self, surface, rates=_walk.RATES, evaluations=EVALUATIONS):
        """The trajectory at the rate that comes down fastest and stays inside the figure.

        Args:
            surface: `Surface`.
            rates: Learning rates to try.
            evaluations: Length of the path.

        Returns:
            `Trajectory`.
        """
        rate = self._walker.best_rate(surface, _index(surface), rates, evaluations)
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
        path = self._walker.path(_index(surface), surface.start, rate, evaluations)
        return Trajectory(
            self.spec.label, surface.name, rate, tuple(path), tuple(surface.heights(path).tolist())
        )


def _index(surface):
    return SURFACES.index(surface)
