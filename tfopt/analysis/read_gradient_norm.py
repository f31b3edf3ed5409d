"""read_gradient_norm: whether a critical point can be why training stalls."""

import enum
from typing import NamedTuple

import numpy as np

from tfopt._check import is_number, require
from tfopt.analysis._finding import Finding


class Reading(enum.Enum):
    """What the gradient's norm over time says, with a sentence each."""

    NOT_CRITICAL = "The norm has not become small: neither a local minimum nor a saddle is the reason."
    GROWING = "The norm has grown: training is far from any critical point, and curvature decides the pace."
    CRITICAL = "The norm has become small: a critical point of some kind, or a gradient that vanished."
    FALLING = "The norm is still falling: too early to tell."


ADVICE = {
    Reading.NOT_CRITICAL: "Look at curvature (`CurvatureMonitor`), at the noise of the gradient "
    "(`GradientNoiseScale`) and at the learning rate.",
    Reading.GROWING: "If the loss still falls, nothing is wrong. Else lower the learning rate, or look at "
    "`CurvatureMonitor`.",
    Reading.CRITICAL: "`curvature.classify_critical_point` tells minimum from saddle and flat region; "
    "`GradientFlow` tells whether the gradient vanished on its way.",
    Reading.FALLING: "Train on.",
}


class GradientNormReading(NamedTuple):
    """What the norm says, and the numbers behind it.

    Attributes:
        reading: `Reading`; its value is a sentence.
        first: Median norm over the first tenth.
        last: Median norm over the last tenth.
        ratio: last/largest, the largest of the medians over tenths.
    """

    reading: Reading
    first: float
    last: float
    ratio: float

    @property
    def findings(self):
        """The reading as a list of one `Finding`."""
        return [
            Finding(
                name=f"gradient norm: {self.reading.name.lower().replace('_', ' ')}",
                sentence=f"{self.reading.value} It went from {self.first:.3g} to {self.last:.3g}.",
                reason="At a minimum, a saddle or any other critical point the gradient is zero; what stalls "
                "with a strong gradient stalls for another reason.",
                advice=ADVICE[self.reading],
            )
        ]


def read_gradient_norm(norms, small=0.01):
    """Read from the gradient's norm over time whether a critical point can be the reason of trouble.

    The test of the chapter: plot ‖g‖ against time; unless it shrinks to something small, the trouble is
    neither a local minimum nor any other critical point. With m_j the medians over ten equal parts of time,
    which noise does not lift::

        CRITICAL       m₁₀ <= small · max m
        GROWING        m₁₀ >= 2 m₁
        FALLING        m₁₀ < ½ m₉: still on its way down
        NOT_CRITICAL   otherwise

    Args:
        norms: ‖g‖ or ‖g‖² over time, at least 10 finite numbers >= 0, of one kind of data: minibatches have a
            norm of their own, from noise, that never falls to 0. `CurvatureMonitor` records ‖g‖² as
            ``history["squared_gradient_norm"]``: take the root.
        small: Share of the largest norm that counts as small, in (0, 1).

    Returns:
        A `GradientNormReading`, with ``reading``, ``first``, ``last``, ``ratio`` and ``findings``.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import numpy as np, tfopt
        >>> tfopt.analysis.read_gradient_norm(np.exp(-np.linspace(0, 9, 100))).reading.name
        'CRITICAL'
        >>> tfopt.analysis.read_gradient_norm(np.linspace(1, 5, 100)).reading.name
        'GROWING'

    Source: chapter sections 2.1 and 2.2; Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.2.
    """
    owner = "read_gradient_norm"
    good = is_number(small) and 0 < small < 1
    require(good, owner, "small", small, "0 < small < 1")
    norms = np.asarray(norms, float)
    good = norms.ndim == 1 and len(norms) >= 10 and np.isfinite(norms).all() and (norms >= 0).all()
    require(good, owner, "norms", f"{norms.size} numbers", "a row of at least 10 finite numbers >= 0")
    parts = np.array([np.median(part) for part in np.array_split(norms, 10)])
    largest = parts.max()
    ratio = float(parts[-1] / largest) if largest > 0 else 0.0
    return GradientNormReading(_reading(parts, ratio, small), float(parts[0]), float(parts[-1]), ratio)


def _reading(parts, ratio, small):
    if ratio <= small:
        return Reading.CRITICAL
    if parts[-1] >= 2 * parts[0]:
        return Reading.GROWING
    return Reading.FALLING if parts[-1] < 0.5 * parts[-2] else Reading.NOT_CRITICAL
