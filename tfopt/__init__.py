"""tfopt: optimization for Keras 3 on TensorFlow, one import line per public object."""

from tfopt._command import quiet_in_the_command
from tfopt._require_host import require_host

with quiet_in_the_command():
    require_host()

from tfopt import (
    analysis,
    callbacks,
    curvature,
    data,
    distribute,
    initializers,
    kernels,
    layers,
    line_search,
    losses,
    metrics,
    optimizers,
    schedules,
    sparse_coding,
    symmetry,
    transforms,
)
from tfopt.initializers import tune_init_scale
from tfopt.minimize import minimize
from tfopt.optimizers import *  # noqa: F403
from tfopt.optimizers._result import Result, Status
from tfopt.repair import repair_keras
from tfopt.sparse_coding import SparseCoding
from tfopt.version import VERSION as __version__

__all__ = [
    *optimizers.__all__,
    "Result",
    "Status",
    "SparseCoding",
    "__version__",
    "analysis",
    "callbacks",
    "curvature",
    "data",
    "distribute",
    "initializers",
    "kernels",
    "layers",
    "line_search",
    "losses",
    "metrics",
    "minimize",
    "optimizers",
    "repair_keras",
    "schedules",
    "sparse_coding",
    "symmetry",
    "transforms",
    "tune_init_scale",
]
