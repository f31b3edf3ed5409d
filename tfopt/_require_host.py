"""Check of the host at import: a TensorFlow and a Keras that fit, or one sentence saying what to install."""

import importlib
import importlib.util
import re

from tfopt.version import KERAS, TENSORFLOW


def require_host():
    """Raise ImportError unless TensorFlow and Keras are there in tfopt's ranges, Keras on TensorFlow.

    TensorFlow's wheel has several names (tensorflow, tensorflow-cpu, tensorflow[and-cuda]), so that it cannot
    be a hard requirement of tfopt's; the message names the extra that installs it.

    Raises:
        ImportError: TensorFlow is missing, it or Keras is out of range, or Keras runs on another backend.
    """
    # Keras imports its backend, so TensorFlow's absence has to be found before Keras is touched.
    _require_version("TensorFlow", "tensorflow", TENSORFLOW)
    _require_version("Keras", "keras", KERAS)
    _require_backend()


def _require_version(title, module, bounds):
    """Raise ImportError unless `module` is installed at a version within the half-open range `bounds`."""
    found = _version(module)
    if found is None or not is_within(found, bounds):
        raise ImportError(
            f"tfopt needs {title} >={bounds[0]},<{bounds[1]}, found {found or 'none'}: "
            'pip install "tfopt[cpu]", or "tfopt[cuda]" for NVIDIA GPUs.',
            name=module,
        )


def is_within(version, bounds):
    """Whether a version lies within a half-open range such as those in version.py."""
    return _release(bounds[0]) <= _release(version) < _release(bounds[1])


def _version(module):
    """The version of an installed module, None where there is none or only a removed one's empty folder."""
    if importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), "__version__", None)


def _release(version):
    """Major and minor number of a version as integers."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _require_backend():
    """Raise ImportError unless Keras runs on TensorFlow."""
    import keras

    backend = keras.config.backend()
    if backend != "tensorflow":
        raise ImportError(
            f"tfopt needs Keras on TensorFlow, found Keras on {backend}: set KERAS_BACKEND=tensorflow.",
            name="keras",
        )
