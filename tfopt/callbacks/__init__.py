"""Callbacks for `fit`, one import line each."""

from tfopt.callbacks.common_random_numbers import CommonRandomNumbers
from tfopt.callbacks.evaluation_weights import EvaluationWeights
from tfopt.callbacks.learning_rate_finder import LearningRateFinder

__all__ = ["CommonRandomNumbers", "EvaluationWeights", "LearningRateFinder"]
