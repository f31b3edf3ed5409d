"""Memory that TensorFlow keeps: in processes of their own, as it is settled when devices are made."""

import json
import os
import platform
import subprocess
import sys

import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import _glue, memory

# Of Linux' prctl: pages of one size, whatever the system is set to.
PR_SET_THP_DISABLE = 41
# Results of 80 MB, each freed before the next: the system clears some 20,000 pages for one.
PROGRAM = """
import ctypes, json, resource
ctypes.CDLL(None).prctl({no_huge_pages}, 1, 0, 0, 0)
import tensorflow as tf
import tfopt
from tfopt.kernels import _glue

{call}
made = [_glue.devices_are_made()]
x = tf.ones([20_000_000])
made.append(_glue.devices_are_made())

def work():
    y = x * 2.0

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

work(), work()
before = faults()
for _ in range(3):
    work()
found = {{"made": made, "faults": faults() - before, "exhausted": False}}
try:
    tf.zeros([{more}])
except tf.errors.ResourceExhaustedError:
    found["exhausted"] = True
print(json.dumps(found))
"""


def run(call, more, onednn="0"):
    program = PROGRAM.format(call=call, more=more, no_huge_pages=PR_SET_THP_DISABLE)
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def as_it_is():
    return run("", more=1)


@pytest.fixture(scope="module")
def kept():
    return run("tfopt.kernels.keep_memory(limit=1e9)", more=500_000_000)


@pytest.fixture
def unmade(monkeypatch):
    """As before devices are made, in an environment that says nothing; it is put back afterwards."""
    monkeypatch.setattr(_glue, "devices_are_made", lambda: False)
    for name in (memory.USE_POOL, memory.LIMIT):
        # Set first, so that what the test leaves is undone.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_large_results_are_made_in_memory_that_was_freed(as_it_is, kept):
    assert as_it_is["faults"] > 10_000
    assert kept["faults"] < as_it_is["faults"] / 100


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorFlow builds oneDNN's operations for x86")
def test_with_onednns_operations_tensorflow_keeps_it_by_itself(as_it_is):
    assert run("", more=1, onednn="1")["faults"] < as_it_is["faults"] / 100


def test_beyond_the_limit_a_step_ends_with_an_error(kept):
    assert kept["exhausted"]


def test_it_is_too_late_once_devices_are_made(monkeypatch):
    tf.constant(1.0)
    monkeypatch.delenv(memory.USE_POOL, raising=False)
    with pytest.raises(RuntimeError, match=r"keep_memory\(\) must be called before"):
        tfopt.kernels.keep_memory()
    assert memory.USE_POOL not in memory.os.environ


def test_devices_are_made_by_the_first_tensor(as_it_is, kept):
    """Guards `_glue.devices_are_made`."""
    assert as_it_is["made"] == kept["made"] == [False, True]


def test_the_limit_is_what_the_machine_has_if_none_is_given(unmade):
    tfopt.kernels.keep_memory()
    found = int(memory.os.environ[memory.LIMIT])
    assert 256 < found < 2**24
    assert memory.os.environ[memory.USE_POOL] == "true"


@pytest.mark.parametrize(("limit", "mebibytes"), [(2**20, "1"), (3.9 * 2**20, "3"), (2**40, "1048576")])
def test_the_limit_is_rounded_down(unmade, limit, mebibytes):
    tfopt.kernels.keep_memory(limit)
    assert memory.os.environ[memory.LIMIT] == mebibytes


def test_a_second_call_does_nothing_and_another_limit_is_refused(unmade, monkeypatch):
    tfopt.kernels.keep_memory(2**30)
    monkeypatch.setattr(_glue, "devices_are_made", lambda: True)
    tfopt.kernels.keep_memory(2**30)
    with pytest.raises(RuntimeError, match="before TensorFlow makes its devices"):
        tfopt.kernels.keep_memory(2**31)
    assert memory.os.environ[memory.LIMIT] == "1024"


@pytest.mark.parametrize(
    "limit", [0, -1, 2**20 - 1, float("nan"), float("inf"), True, "1GB", [2**30]], ids=str
)
def test_a_limit_that_is_none_is_refused(unmade, limit):
    with pytest.raises(ValueError, match=r"limit must be .*got"):
        tfopt.kernels.keep_memory(limit)
    assert memory.USE_POOL not in memory.os.environ
