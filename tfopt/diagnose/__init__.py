"""Runs the diagnostics on one model and its data; also `tfopt diagnose`."""

from tfopt.diagnose.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
