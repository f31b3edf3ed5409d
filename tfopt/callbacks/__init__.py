"""Callbacks for `fit`, one import line each."""

from tfopt.callbacks.evaluation_weights import EvaluationWeights

__all__ = ["EvaluationWeights"]
