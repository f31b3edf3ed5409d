"""Settings of every test run; imported before TensorFlow is."""

import importlib.metadata
import importlib.util
import os
import pathlib

import pytest
import xdist

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")


def package_folder():
    """Where the tfopt under test lies, found without importing it."""
    return pathlib.Path(importlib.util.find_spec("tfopt").origin).parent


def pytest_report_header():
    """Name the tfopt under test."""
    return f"tfopt: {package_folder()}, keras {importlib.metadata.version('keras')}"


def pytest_configure():
    """Refuse to test the source tree where the installed wheel is meant."""
    if "TFOPT_INSTALLED" in os.environ and "site-packages" not in package_folder().parts:
        raise pytest.UsageError(f"TFOPT_INSTALLED is set, but tfopt is imported from {package_folder()}.")


def pytest_collection(session):
    """Give every process that runs tests two CPU devices, enough for replicas, before the first tensor."""
    if xdist.is_xdist_controller(session):
        return
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture
def strategy():
    """Two replicas on this process' two devices.

    TensorFlow's collectives take every strategy of a process for the first one and refuse tensors of other
    shapes than it had; a plain reduction does not.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
