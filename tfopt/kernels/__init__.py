"""Fused kernels: which rule has one, and whether it may be used; memory kept from step to step."""

from tfopt.kernels.memory import keep_memory
from tfopt.kernels.registry import status

__all__ = ["keep_memory", "status"]
