"""Fused kernels: which rule has one, and whether it may be used."""

from tfopt.kernels.registry import Kernel, find, register, status, unregister

__all__ = ["Kernel", "find", "register", "status", "unregister"]
