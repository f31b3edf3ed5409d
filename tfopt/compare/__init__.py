"""Trains one model on one data set with many optimizers under equal budgets; also `tfopt compare`."""

from tfopt.compare.comparison import Comparison, compare
from tfopt.compare.settings import Settings

__all__ = ["Comparison", "Settings", "compare"]
