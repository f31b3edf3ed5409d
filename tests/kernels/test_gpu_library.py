"""The library for GPUs: when it is loaded, what is said where it is not, what the kernels then take."""

import dataclasses
import hashlib
import json
import logging

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import _gradients, library, normalize, rows
from tfopt.kernels.registry import Status

GPU = "/job:localhost/replica:0/task:0/device:GPU:0"


class OnGpu:
    """What is asked of a variable on a GPU."""

    dtype, device = tf.float32, GPU


@pytest.fixture
def visible(request, monkeypatch):
    """What GPUs TensorFlow sees."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: request.param)
    return request.param


one_gpu = pytest.mark.parametrize("visible", [["GPU:0"]], indirect=True)


def put_library(folder, version=tf.__version__):
    path = folder / library.GPU
    path.write_bytes(b"not a library")
    facts = {"tensorflow": version, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def warnings_of(caplog):
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("visible", [[]], indirect=True)
def test_without_a_gpu_nothing_is_loaded_or_warned_of(visible, tmp_path, caplog):
    assert library._load_gpu(put_library(tmp_path)) == "TensorFlow sees no GPU."
    assert warnings_of(caplog) == []


@one_gpu
def test_a_library_that_was_not_asked_for_is_no_reason_to_warn(visible, tmp_path, caplog):
    assert "TFOPT_CUDA=1" in library._load_gpu(tmp_path / library.GPU)
    assert warnings_of(caplog) == []


@one_gpu
@pytest.mark.parametrize("version", [tf.__version__, "2.20.0"])
def test_a_library_that_fails_says_so(visible, tmp_path, caplog, version):
    reason = library._load_gpu(put_library(tmp_path, version))
    (said,) = warnings_of(caplog)
    assert reason in said
    assert ("built for TensorFlow 2.20.0" in reason) == (version == "2.20.0")


@one_gpu
def test_it_is_loaded_where_there_is_a_gpu(visible, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(tf, "load_library", taken.append)
    path = put_library(tmp_path)
    assert library._load_gpu(path) == ""
    assert taken == [str(path)]


def test_without_it_the_other_kernels_run(loaded):
    """No GPU, or no library for one, on the machine that tests."""
    if not loaded.gpu_reason:
        pytest.skip("there are kernels on a GPU")
    assert loaded.kernels
    assert not any(kernel.gpu for kernel in loaded.kernels.values())
    assert loaded.gpu_reason in str(tfopt.kernels.status())


@pytest.mark.parametrize("gpu", [True, False])
def test_with_it_kernels_take_weights_on_a_gpu(loaded, gpu):
    kernel = dataclasses.replace(loaded.kernels["adam"], gpu=gpu)
    assert kernel.supports([OnGpu, OnGpu]) == gpu
    assert not kernel.supports([OnGpu, tf.Variable([0.0])])
    assert kernel.supports([tf.Variable([0.0])])


def test_rows_of_a_gradient_are_made_dense_on_a_gpu():
    rows = tf.IndexedSlices(tf.constant([1.0, 2.0, 4.0]), tf.constant([2, 0, 2]), tf.constant([3]))
    (dense,) = _gradients.prepared([rows], [OnGpu])
    np.testing.assert_array_equal(dense, [2.0, 0.0, 5.0])
    (kept,) = _gradients.prepared([rows], [tf.Variable(tf.zeros(3))])
    assert isinstance(kept, tf.IndexedSlices)


@pytest.mark.parametrize("why", ["", "TensorFlow sees no GPU."])
@pytest.mark.parametrize("visible", [["GPU:0"]], indirect=True)
def test_normalisation_runs_on_a_gpu_where_the_library_has_kernels_for_it(visible, monkeypatch, why):
    monkeypatch.setattr(library, "load", lambda: library.Library(gpu_reason=why, ops="ops"))
    served = None if why else "ops"
    assert normalize.ops_of(OnGpu) == served
    assert normalize.ops_of(tf.zeros(3)) == "ops"
    traced = []
    tf.function(lambda x: traced.append(normalize.ops_of(x)), autograph=False)(tf.zeros(3))
    assert traced == [served]


@one_gpu
def test_products_of_rows_have_no_kernels_on_a_gpu(visible, monkeypatch):
    monkeypatch.setattr(library, "load", lambda: library.Library(ops="ops"))
    assert rows.ops_for(GPU) is None
    assert rows.ops_for() is None
    assert rows.ops_for(tf.zeros(3).device) == "ops"


@pytest.mark.parametrize("why", ["", "TensorFlow sees no GPU."])
def test_the_status_says_whether_there_are_kernels_on_gpus(why):
    assert f"On NVIDIA GPUs: {'no: ' + why if why else 'yes'}" in str(Status({}, "avx2", gpu_reason=why))
