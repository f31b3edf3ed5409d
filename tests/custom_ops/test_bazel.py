"""What Bazel is told about TensorFlow is what TensorFlow says of itself."""

import json
import pathlib
import runpy
import subprocess
import sys

import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = ROOT / "bazel" / "find_tensorflow.py"

pytestmark = pytest.mark.skipif(not PROBE.is_file(), reason="no source tree around the tests")


def test_tensorflow_is_found_as_it_is():
    build = str(ROOT / "custom_ops" / "build.py")
    done = subprocess.run([sys.executable, str(PROBE), build], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    flags = tf.sysconfig.get_compile_flags()
    assert found["version"] == tf.__version__
    assert f"{found['folder']}/include" == tf.sysconfig.get_include()
    assert [f"-D{one}" for one in found["defines"]] == [flag for flag in flags if flag.startswith("-D")]
    settings = runpy.run_path(build)
    assert " ".join(found["loops"]) == settings["LOOPS"]
    assert found["instructions"].keys() == settings["INSTRUCTIONS"].keys()


def test_python_without_tensorflow_gets_a_sentence():
    command = [sys.executable, "-S", str(PROBE), "build.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has no TensorFlow" in done.stderr
    assert "Traceback" not in done.stderr
