"""Where a model starts: initializers of weights and biases, and the search for their scale."""

from tfopt.initializers.fan_in_uniform import FanInUniform
from tfopt.initializers.from_model import FromModel
from tfopt.initializers.gate_bias import GateBias
from tfopt.initializers.output_bias import OutputBias
from tfopt.initializers.relu_bias import ReLUBias
from tfopt.initializers.sparse import Sparse
from tfopt.initializers.tune_init_scale import tune_init_scale

__all__ = [
    "FanInUniform",
    "FromModel",
    "GateBias",
    "OutputBias",
    "ReLUBias",
    "Sparse",
    "tune_init_scale",
]
