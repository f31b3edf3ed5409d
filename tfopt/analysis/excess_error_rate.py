"""excess_error_rate: how fast the excess error falls, as a power of the number of steps."""

import math
from typing import NamedTuple

import numpy as np

from tfopt._check import is_number, require, require_fraction
from tfopt.analysis._finding import Finding

NAMED = {0.5: "1/√k", 1.0: "1/k", 2.0: "1/k²"}
GOLDEN = (math.sqrt(5) - 1) / 2


class ErrorRate(NamedTuple):
    """A power law J(θ_k) − J* ≈ C/k^p.

    Attributes:
        exponent: p.
        error: Standard error of p, from the scatter about the line; J* is taken as known.
        minimum: J*, given or fitted.
        constant: C.
        name: The nearest of "1/√k", "1/k" and "1/k²"; "slower than 1/√k" or "faster than 1/k²" far outside.
    """

    exponent: float
    error: float
    minimum: float
    constant: float
    name: str

    @property
    def findings(self):
        """The rate as a list of one `Finding`."""
        return [
            Finding(
                name=f"excess error falls like {self.name}",
                sentence=f"J − J* ≈ {self.constant:.3g}/k^{self.exponent:.2f} (± {self.error:.2g}).",
                reason="Stochastic gradients cannot do better than 1/√k on convex and 1/k on strongly convex "
                "problems; 1/k² takes exact gradients and Nesterov's look-ahead.",
                advice="Where SGD is slower than that, its learning rate falls too fast or too slowly: "
                "`RobbinsMonro`, `PolyakAverage`, or batches that grow.",
            )
        ]


def excess_error_rate(losses, steps=None, minimum=None, skip=0.1):
    """Fit the exponent of the excess error J(θ_k) − J* over the steps k.

    Straight line through the logarithms::

        log(J_k − J*) = log C − p log k

    over points gathered into bins of equal width in log k, whose means stand for them, so that each decade
    of steps counts the same and noise averages out. Theory has p = ½ for SGD on convex problems, 1 on
    strongly convex ones, 2 for Nesterov's method with exact gradients.

    Without `minimum` J* is fitted along with p, below the smallest bin, by least squares. A power law with
    fitted J* needs a decade or two of steps that bend; know J* where you can.

    Args:
        losses: J(θ_k), at least 8 finite numbers, in the order of the steps.
        steps: k of each, rising, >= 1; None for 1, 2, 3, ….
        minimum: J*; None to fit it. Losses at or below it are left out by their bin's mean.
        skip: Share of log k, from the start, that is left out: the law holds for large k. In [0, 1).

    Returns:
        An `ErrorRate`, with ``exponent``, ``error``, ``minimum``, ``constant``, ``name`` and ``findings``.

    Raises:
        ValueError: If an argument lies outside its range, or fewer than 4 bins lie above `minimum`.

    Example:
        >>> import numpy as np, tfopt
        >>> k = np.arange(1, 1001)
        >>> found = tfopt.analysis.excess_error_rate(2.0 + 3.0 / k, minimum=2.0)
        >>> round(found.exponent, 3), found.name
        (1.0, '1/k')

    Source: chapter section 4.1.3; Bottou, Curtis and Nocedal, Optimization Methods for Large-Scale Machine
    Learning, 2018, section 4.
    """
    owner = "excess_error_rate"
    losses = np.asarray(losses, float)
    good = losses.ndim == 1 and len(losses) >= 8 and np.isfinite(losses).all()
    require(good, owner, "losses", f"{losses.size} numbers", "a row of at least 8 finite numbers")
    steps = np.arange(1, len(losses) + 1) if steps is None else np.asarray(steps, float)
    good = steps.shape == losses.shape and (steps >= 1).all() and (np.diff(steps) > 0).all()
    require(good, owner, "steps", f"{steps.size} numbers", "None or as many rising numbers >= 1 as losses")
    require(minimum is None or is_number(minimum), owner, "minimum", minimum, "a finite number or None")
    require_fraction(owner, skip=skip)
    logs, means = _binned(np.log(steps), losses, skip)
    known = _fitted(logs, means) if minimum is None else float(minimum)
    above = means > known
    expected = "a minimum below the losses, and losses over a wider range of steps"
    require(above.sum() >= 4, owner, "minimum", minimum, expected)
    slope, intercept, error, _ = _line(logs[above], np.log(means[above] - known))
    return ErrorRate(-slope, error, known, math.exp(intercept), _named(-slope))


def _binned(logs, losses, skip):
    """Means of log k and of the losses over bins of equal width in log k."""
    start = logs[0] + skip * (logs[-1] - logs[0])
    kept = logs >= start
    logs, losses = logs[kept], losses[kept]
    edges = np.linspace(logs[0], logs[-1], min(40, len(logs)))
    places = np.clip(np.searchsorted(edges, logs, side="right") - 1, 0, len(edges) - 1)
    there = np.unique(places)
    means = [[column[places == place].mean() for place in there] for column in (logs, losses)]
    return np.array(means[0]), np.array(means[1])


def _line(x, y):
    """Slope, intercept, standard error of the slope, and mean squared residual of the least-squares line."""
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - slope * x - intercept
    spread = np.sum((x - x.mean()) ** 2)
    error = math.sqrt(np.sum(residuals**2) / max(len(x) - 2, 1) / spread)
    return float(slope), float(intercept), error, float(np.mean(residuals**2))


def _fitted(logs, means):
    """The J* below all means whose line fits best: its gap is searched over 12 decades, then refined.

    A J* far below makes all logarithms nearly equal, so what counts is the share of their variance that the
    line leaves over.
    """
    lowest, extent = means.min(), np.ptp(means)

    def misfit(exponent):
        excess = np.log(means - lowest + extent * 10**exponent)
        return _line(logs, excess)[3] / np.var(excess)

    grid = np.linspace(-10.0, 2.0, 121)
    best = grid[int(np.argmin([misfit(point) for point in grid]))]
    low, high = best - 0.1, best + 0.1
    while high - low > 1e-9:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if misfit(left) < misfit(right) else (left, high)
    return float(lowest - extent * 10 ** ((low + high) / 2))


def _named(exponent):
    if exponent < 0.25:
        return "slower than 1/√k"
    if exponent > 3.0:
        return "faster than 1/k²"
    return NAMED[min(NAMED, key=lambda known: abs(math.log(exponent / known)))]
