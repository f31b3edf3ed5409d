"""Repairs of faults in Keras, applied only where the user asks for them."""

from tfopt.repair.repair_keras import repair_keras

__all__ = ["repair_keras"]
