"""Transformations of the gradient around an optimizer."""

from tfopt.transforms.adaptive_clip import AdaptiveClip

__all__ = ["AdaptiveClip"]
