"""Losses that stand for others: a surrogate with the true value, and objectives of growing difficulty."""

from tfopt.losses.blend import Blend
from tfopt.losses.by_epoch import ByEpoch
from tfopt.losses.by_plateau import ByPlateau
from tfopt.losses.by_step import ByStep
from tfopt.losses.continuation import Continuation
from tfopt.losses.curriculum import Curriculum
from tfopt.losses.label_smoothing import LabelSmoothing
from tfopt.losses.surrogate import Surrogate
from tfopt.losses.temperature import Temperature
from tfopt.losses.zero_one import ZeroOne

__all__ = [
    "Blend",
    "ByEpoch",
    "ByPlateau",
    "ByStep",
    "Continuation",
    "Curriculum",
    "LabelSmoothing",
    "Surrogate",
    "Temperature",
    "ZeroOne",
]
