"""Settings of every test run; imported before TensorFlow is."""

import ctypes
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
    """Set TensorFlow up in every process that runs tests, before the first tensor."""
    if xdist.is_xdist_controller(session):
        return
    split_cpu()
    read_untuned()


def split_cpu():
    """Two CPU devices, enough for replicas."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def read_untuned():
    """No dataset has a pipeline tuner: its sleeping threads hold up a process of many fits."""
    import tensorflow as tf

    from tfopt._batches import untuned

    read, shared = tf.data.Dataset.__iter__, tf.distribute.Strategy.experimental_distribute_dataset
    tf.data.Dataset.__iter__ = lambda batches: read(untuned(batches))
    tf.distribute.Strategy.experimental_distribute_dataset = lambda strategy, batches, options=None: shared(
        strategy, untuned(batches), options
    )


@pytest.fixture
def strategy():
    """Two replicas on this process' two devices.

    TensorFlow's collectives take every strategy of a process for the first one and refuse tensors of other
    shapes than it had; a plain reduction does not.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())


@pytest.fixture(scope="session")
def loaded():
    """tfopt's own library, where it was built."""
    from tfopt.kernels import library

    found = library.load()
    if found.reason:
        pytest.skip(found.reason)
    return found


@pytest.fixture
def lowering(loaded):
    """Skips a test where XLA cannot compile the kernels."""
    if loaded.lowering_reason:
        pytest.skip(loaded.lowering_reason)


@pytest.fixture
def portably(lowering):
    """portably(function): the function's result, with lowerings to XLA's own operations while it runs."""
    from tfopt.kernels import library

    lower = ctypes.CDLL(str(library.PATH.with_name(library.LOWERING))).tfopt_lower_portably

    def call(function):
        lower(1)
        try:
            return function()
        finally:
            lower(0)

    return call
