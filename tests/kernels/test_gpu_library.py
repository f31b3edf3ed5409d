"""The library for GPUs: when it is loaded, what is said where it is not, what the kernels then take."""

import dataclasses
import json
import logging
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfopt.kernels import _gradients, library
from tfopt.kernels.registry import Status

GPU = "/job:localhost/replica:0/task:0/device:GPU:0"


class OnGpu:
    """What is asked of a variable on a GPU."""

    dtype, device = tf.float32, GPU


@pytest.fixture
def folder(tmp_path, loaded):
    """A folder with the library for CPUs alone."""
    for suffix in (".so", ".json"):
        shutil.copy(library.PATH.with_suffix(suffix), tmp_path)
    return tmp_path


@pytest.fixture
def visible(monkeypatch):
    """TensorFlow sees a GPU."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])


def load(folder):
    return library.load.__wrapped__(pathlib.Path(folder) / library.PATH.name)


def put_library(folder, version=tf.__version__):
    path = folder / library.GPU
    path.write_bytes(b"not a library")
    path.with_suffix(".json").write_text(json.dumps({"tensorflow": version}))


def warnings_of(caplog):
    return [r.message for r in caplog.records if r.levelno == logging.WARNING and "GPU" in r.message]


def test_without_a_gpu_nothing_is_loaded_or_warned_of(folder, caplog, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    put_library(folder)
    assert load(folder).gpu_reason == "TensorFlow sees no GPU."
    assert warnings_of(caplog) == []


@pytest.mark.usefixtures("visible")
def test_a_library_that_was_not_asked_for_is_no_reason_to_warn(folder, caplog):
    assert "TFOPT_CUDA=1" in load(folder).gpu_reason
    assert warnings_of(caplog) == []


@pytest.mark.usefixtures("visible")
@pytest.mark.parametrize("version", [tf.__version__, "2.20.0"])
def test_a_library_that_fails_leaves_the_others_and_says_so(folder, caplog, version):
    put_library(folder, version)
    found = load(folder)
    assert found.kernels
    assert not any(kernel.gpu for kernel in found.kernels.values())
    (said,) = warnings_of(caplog)
    assert found.gpu_reason in said
    assert ("built for TensorFlow 2.20.0" in said) == (version == "2.20.0")


@pytest.mark.usefixtures("visible")
def test_where_it_loads_kernels_take_weights_on_a_gpu(folder, monkeypatch):
    taken = []
    put_library(folder)
    monkeypatch.setattr(tf, "load_library", lambda path: taken.append(pathlib.Path(path).name))
    found = load(folder)
    assert found.gpu_reason == ""
    assert library.GPU in taken
    assert found.kernels["adam"].supports([OnGpu, OnGpu])
    assert not found.kernels["adam"].supports([OnGpu, tf.Variable([0.0])])
    assert not dataclasses.replace(found.kernels["adam"], gpu=False).supports([OnGpu])


def test_rows_of_a_gradient_are_made_dense_on_a_gpu():
    rows = tf.IndexedSlices(tf.constant([1.0, 2.0, 4.0]), tf.constant([2, 0, 2]), tf.constant([3]))
    (dense,) = _gradients.prepared([rows], [OnGpu])
    np.testing.assert_array_equal(dense, [2.0, 0.0, 5.0])
    (kept,) = _gradients.prepared([rows], [tf.Variable(tf.zeros(3))])
    assert isinstance(kept, tf.IndexedSlices)


@pytest.mark.parametrize("why", ["", "TensorFlow sees no GPU."])
def test_the_status_says_whether_there_are_kernels_on_gpus(why):
    assert f"On NVIDIA GPUs: {'no: ' + why if why else 'yes'}" in str(Status({}, "avx2", gpu_reason=why))
