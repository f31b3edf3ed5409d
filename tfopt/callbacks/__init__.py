"""Callbacks for `fit`, one import line each."""

from tfopt.callbacks.backup_and_restore import BackupAndRestore
from tfopt.callbacks.common_random_numbers import CommonRandomNumbers
from tfopt.callbacks.continuation_stages import ContinuationStages
from tfopt.callbacks.curvature_monitor import CurvatureMonitor
from tfopt.callbacks.evaluation_weights import EvaluationWeights
from tfopt.callbacks.gradient_flow import GradientFlow
from tfopt.callbacks.gradient_noise_scale import GradientNoiseScale
from tfopt.callbacks.greedy_pretraining import GreedyPretraining
from tfopt.callbacks.learning_rate_finder import LearningRateFinder

__all__ = [
    "BackupAndRestore",
    "CommonRandomNumbers",
    "ContinuationStages",
    "CurvatureMonitor",
    "EvaluationWeights",
    "GradientFlow",
    "GradientNoiseScale",
    "GreedyPretraining",
    "LearningRateFinder",
]
