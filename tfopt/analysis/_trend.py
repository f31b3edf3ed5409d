"""Whether a gradient vanishes or explodes on its way back."""

import enum
from typing import NamedTuple

import numpy as np


class Trend(enum.Enum):
    """What becomes of a gradient on its way back, with a sentence each."""

    VANISHING = "The gradient vanishes on its way back."
    EXPLODING = "The gradient explodes on its way back."
    STEADY = "The gradient keeps its size on its way back."


class Growth(NamedTuple):
    """Growth of the gradient's norm from the end, where the loss is, back to the start.

    Attributes:
        rate: Factor of one step back, by a straight line through the logarithms.
        factor: Factor of the whole way: rate to the power of the number of steps.
        trend: `Trend`; its value is a sentence.
    """

    rate: float
    factor: float
    trend: Trend


def growth_of(norms, bound):
    """Growth from the last of some norms back to the first; what exceeds `bound`, or 1/bound, has a name."""
    norms = np.asarray(norms, float)
    reached = np.flatnonzero(norms > 0)
    if len(reached) == 0 or reached[-1] == 0:
        return Growth(1.0, 1.0, Trend.STEADY)
    # Behind the last one the loss does not look; a zero before it is a gradient lost to underflow.
    norms = norms[: reached[-1] + 1]
    logs = np.log(np.maximum(norms, norms.max() * np.finfo(np.float32).tiny))
    slope = -np.polyfit(np.arange(len(logs)), logs, 1)[0]
    steps = len(logs) - 1
    return Growth(_exp(slope), _exp(slope * steps), _trend(slope * steps, np.log(bound)))


def _exp(exponent):
    return float(np.exp(np.clip(exponent, -700.0, 700.0)))


def _trend(exponent, bound):
    if exponent < -bound:
        return Trend.VANISHING
    return Trend.EXPLODING if exponent > bound else Trend.STEADY
