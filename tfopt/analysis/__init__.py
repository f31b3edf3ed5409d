"""Diagnostics: pure functions that say why a network does not train."""

from tfopt.analysis.excess_error_rate import excess_error_rate
from tfopt.analysis.gradient_curvature import gradient_curvature
from tfopt.analysis.gradient_flow import gradient_flow
from tfopt.analysis.gradient_noise_scale import gradient_noise_scale
from tfopt.analysis.layer_interaction import layer_interaction
from tfopt.analysis.loss_slice import loss_slice
from tfopt.analysis.normalization_batch import normalization_batch
from tfopt.analysis.output_marginals import output_marginals
from tfopt.analysis.read_gradient_norm import read_gradient_norm
from tfopt.analysis.recurrent_spectral_radius import recurrent_spectral_radius
from tfopt.analysis.redundant_biases import redundant_biases
from tfopt.analysis.surrogate_gap import surrogate_gap
from tfopt.analysis.trajectories import trajectories
from tfopt.analysis.unit_activity import unit_activity

__all__ = [
    "excess_error_rate",
    "gradient_curvature",
    "gradient_flow",
    "gradient_noise_scale",
    "layer_interaction",
    "loss_slice",
    "normalization_batch",
    "output_marginals",
    "read_gradient_norm",
    "recurrent_spectral_radius",
    "redundant_biases",
    "surrogate_gap",
    "trajectories",
    "unit_activity",
]
