"""Several seeds as one curve: median and range on a common axis."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Curve:
    """Median, smallest and largest value over seeds, at common positions.

    Attributes:
        x: Positions, evaluations or seconds.
        median: Median over seeds.
        low: Smallest value.
        high: Largest value.
    """

    x: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


def summarize(runs, axis, quantity, count=40):
    r"""The curve of some runs, from the latest first to the earliest last measurement among them.

    Values between two measurements are interpolated linearly.

    Args:
        runs: `Run`s of one optimizer.
        axis: "evaluations" or "seconds".
        quantity: Name of a field of `Point`, such as "validation_accuracy".
        count: Number of positions where the runs were not measured at the same ones.

    Returns:
        `Curve`, empty if no position is common to all runs.

    Example:
        >>> from tfopt.compare.run import Point, Run, Task
        >>> def run(seed, *losses):
        ...     points = tuple(Point(10 * k, 0.0, loss, loss, 0.0) for k, loss in enumerate(losses, 1))
        ...     return Run(Task("SGD", 0.1, seed, "comparison"), points, None, False)
        >>> summarize([run(1, 4.0, 2.0), run(2, 6.0, 3.0)], "evaluations", "train_loss").median.tolist()
        [5.0, 2.5]
    """
    positions = [[getattr(point, axis) for point in run.points] for run in runs]
    values = [[getattr(point, quantity) for point in run.points] for run in runs]
    x = _common(positions, count)
    table = [np.interp(x, p, v) for p, v in zip(positions, values, strict=True)]
    table = np.array(table).reshape(len(runs), len(x))
    return Curve(x, np.median(table, axis=0), table.min(axis=0), table.max(axis=0))


def _common(positions, count):
    if all(row == positions[0] for row in positions):
        return np.array(positions[0], float)
    first, last = max(row[0] for row in positions), min(row[-1] for row in positions)
    return np.linspace(first, last, count) if first <= last else np.zeros(0)
