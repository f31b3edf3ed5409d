"""The repair of second derivatives through Keras' normalisation layers."""

from tfopt._require_host import is_within
from tfopt.repair import _glue
from tfopt.repair._repair import Repair
from tfopt.repair.stopped_moments import keras_stops_moments
from tfopt.version import KERAS

NORMALIZATION = Repair(
    name="normalization",
    subject="second derivatives through BatchNormalization, LayerNormalization and GroupNormalization",
    applies=lambda version: is_within(version, KERAS),
    present=keras_stops_moments,
    apply=_glue.MOMENTS.apply,
    undo=_glue.MOMENTS.undo,
)
