"""Learning-rate schedules of stochastic gradient descent."""

from tfopt.schedules.linear_decay import LinearDecay
from tfopt.schedules.robbins_monro import RobbinsMonro

__all__ = ["LinearDecay", "RobbinsMonro"]
