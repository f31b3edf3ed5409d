"""Symmetries of the weights: equivalent models, and units that symmetry keeps equal."""

from tfopt.symmetry.find_identical_units import find_identical_units
from tfopt.symmetry.permute_units import permute_units
from tfopt.symmetry.rescale_units import rescale_units

__all__ = ["find_identical_units", "permute_units", "rescale_units"]
