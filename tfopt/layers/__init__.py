"""Layers that make a model easier to optimise: normalised, whitened, or linear in pieces."""

from tfopt.layers.batch_normalization import BatchNormalization
from tfopt.layers.group_normalization import GroupNormalization
from tfopt.layers.instance_normalization import InstanceNormalization
from tfopt.layers.layer_norm_gru_cell import LayerNormGRUCell
from tfopt.layers.layer_norm_lstm_cell import LayerNormLSTMCell
from tfopt.layers.layer_normalization import LayerNormalization
from tfopt.layers.maxout import Maxout
from tfopt.layers.recalibrate_batch_norm import recalibrate_batch_norm
from tfopt.layers.weight_normalization import WeightNormalization
from tfopt.layers.whitening import Whitening

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LayerNormalization",
    "Maxout",
    "WeightNormalization",
    "Whitening",
    "recalibrate_batch_norm",
]
