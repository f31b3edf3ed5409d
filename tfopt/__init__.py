"""tfopt: optimization for Keras 3 on TensorFlow, one import line per public object."""

from tfopt._command import quieten_the_command
from tfopt._require_host import require_host

quieten_the_command()
require_host()

from tfopt import callbacks, data, kernels, optimizers, schedules  # noqa: E402
from tfopt.optimizers import *  # noqa: E402, F403
from tfopt.version import VERSION as __version__  # noqa: E402

__all__ = [*optimizers.__all__, "__version__", "callbacks", "data", "kernels", "optimizers", "schedules"]
