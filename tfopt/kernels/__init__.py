"""Fused kernels: which rule has one, and whether it may be used."""

from tfopt.kernels.registry import status

__all__ = ["status"]
