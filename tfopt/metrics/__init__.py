"""Metrics that Keras lacks."""

from tfopt.metrics.zero_one import ZeroOne

__all__ = ["ZeroOne"]
