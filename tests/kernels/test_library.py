"""Loading: once, only when asked for, and one sentence where it fails; what `tfopt kernels` says."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

import tfopt
from tfopt import __main__ as command
from tfopt.kernels import library, registry


@pytest.fixture
def elsewhere(monkeypatch):
    """elsewhere(path): from here on the library is looked for at `path`."""

    def move(path):
        monkeypatch.setattr(library, "load", lambda: plain(path))

    plain = library.load
    return move


def train():
    weight = keras.Variable([1.0])
    optimizer = tfopt.SGD(0.5)
    for _ in range(2):
        optimizer.apply([tf.constant([1.0])], [weight])
    return float(weight[0])


def broken_library(folder, facts, content=b"not a library"):
    path = folder / "libtfopt_cpu.so"
    path.write_bytes(content)
    facts = {"sha256": hashlib.sha256(content).hexdigest()} | facts
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def test_a_library_that_is_not_there_is_reported_once(elsewhere, tmp_path, caplog):
    elsewhere(tmp_path / "libtfopt_cpu.so")
    assert train() == 0.0
    assert train() == 0.0
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "libtfopt_cpu.so was not built" in record.message
    assert tfopt.kernels.status() == {}
    assert tfopt.kernels.status().reason in record.message


@pytest.mark.parametrize("version", ["2.20.1", "2.22.0", "3.21.0"])
def test_a_library_for_another_tensorflow_is_not_loaded(elsewhere, tmp_path, caplog, version):
    elsewhere(broken_library(tmp_path, {"tensorflow": version}))
    assert train() == 0.0
    (record,) = caplog.records
    assert f"built for TensorFlow {version}, this is {tf.__version__}" in record.message


def test_a_file_that_is_no_library_is_reported(elsewhere, tmp_path, caplog):
    elsewhere(broken_library(tmp_path, {"tensorflow": tf.__version__}))
    assert train() == 0.0
    assert len(caplog.records) == 1
    assert "libtfopt_cpu.so" in str(tfopt.kernels.status())


@pytest.mark.parametrize("facts", ["{}", "[]", "", json.dumps({"tensorflow": tf.__version__})])
def test_a_library_that_says_nothing_of_itself_is_not_loaded(elsewhere, tmp_path, caplog, facts):
    path = broken_library(tmp_path, {})
    path.with_suffix(".json").write_text(facts)
    elsewhere(path)
    assert train() == 0.0
    assert len(caplog.records) == 1


def test_switched_off_nothing_is_loaded_or_said(monkeypatch, caplog):
    monkeypatch.setenv("TFOPT_KERNELS", "off")
    monkeypatch.setattr(library, "load", lambda: pytest.fail("loaded"))
    assert train() == 0.0
    assert tfopt.kernels.status() == {}
    assert tfopt.kernels.status().reason == "TFOPT_KERNELS=off is set."
    assert caplog.records == []


def test_registered_kernels_come_first_and_go(loaded):
    own = registry.status()["adam"]
    registry.register("adam", "another")
    assert registry.status()["adam"] == "another"
    assert "registered: str" in str(registry.status())
    registry.unregister("adam")
    assert registry.status()["adam"] is own


def test_weights_on_another_device_run_the_rule(loaded):
    class Elsewhere:
        dtype, device = tf.float32, "/job:localhost/replica:0/task:0/device:GPU:0"

    assert registry.find("adam", [tf.Variable([0.0])]) is loaded.kernels["adam"]
    assert registry.find("adam", [tf.Variable([0.0]), Elsewhere]) is None
    assert registry.find("adam", [tf.Variable([0])]) is None
    assert registry.find("no rule", [tf.Variable([0.0])]) is None


@pytest.mark.parametrize("lowers", [False, True])
def test_inside_what_xla_compiles_a_kernel_must_lower(loaded, monkeypatch, lowers):
    kernel = dataclasses.replace(loaded.kernels["adam"], lowers=lowers)
    monkeypatch.setattr(library, "load", lambda: library.Library({"adam": kernel}))
    weight, found = tf.Variable([0.0]), []

    def look():
        found.append(registry.find("adam", [weight]))
        return tf.cond(weight[0] > 0, lambda: 0.0, branch)

    def branch():
        found.append(registry.find("adam", [weight]))
        return 1.0

    tf.function(look, jit_compile=True)()
    assert found == [kernel if lowers else None] * 2
    tf.function(look)()
    assert found[2:] == [kernel] * 2


def python(code, **environment):
    """Output of a fresh process."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TFOPT_")}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, env=inherited | environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_without_the_lowering_the_kernels_still_load(tmp_path, loaded):
    for suffix in (".so", ".json"):
        shutil.copy(library.PATH.with_suffix(suffix), tmp_path)
    code = f"""
import pathlib
from tfopt.kernels import library
found = library.load(pathlib.Path({str(tmp_path)!r}) / library.PATH.name)
print(len(found.kernels), any(k.lowers for k in found.kernels.values()), found.lowering_reason)
"""
    assert python(code).startswith(f"{len(loaded.kernels)} False libtfopt_xla.so was not built")


JIT = """
import tensorflow as tf
import tfopt
from tfopt.kernels import library
{first}
library.load()
weight = tf.Variable([1.0])
optimizer = tfopt.SGD(0.5)
optimizer.build([weight])
step = tf.function(lambda g: optimizer.apply([g], [weight]), jit_compile=True)
ops = {{node.op for node in step.get_concrete_function(tf.constant([1.0])).graph.as_graph_def().node}}
step(tf.constant([1.0]))
print("TfoptFusedUpdate" in ops, float(weight[0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "tf.function(lambda: tf.zeros(1), jit_compile=True)()"])
@pytest.mark.usefixtures("lowering")
def test_xla_takes_the_lowering_whenever_it_comes(first):
    assert python(JIT.format(first=first)) == "True 0.5"


def test_importing_loads_nothing_and_the_instruction_set_can_be_chosen(loaded):
    code = """if True:
        import tfopt
        loads = tfopt.kernels.library._loaded.cache_info().currsize
        print(loads, tfopt.kernels.status().instructions)
    """
    assert python(code, TFOPT_ISA="baseline") == "0 baseline"
    assert python(code, TFOPT_ISA="no such set") == f"0 {loaded.instructions}" or os.environ.get("TFOPT_ISA")


def test_the_command_prints_what_is_active(capsys, loaded):
    assert command.main(["kernels"]) == 0
    said = capsys.readouterr().out
    assert f"instruction set {loaded.instructions}" in said
    assert all(rule in said for rule in loaded.kernels)


def test_the_command_says_why_there_are_none(capsys, monkeypatch):
    monkeypatch.setenv("TFOPT_KERNELS", "off")
    assert command.main(["kernels"]) == 1
    assert "TFOPT_KERNELS=off" in capsys.readouterr().out
