"""How the build finds its host."""

import os
import pathlib
import subprocess
import sys

import pytest

BUILD = pathlib.Path(__file__).resolve().parents[2] / "custom_ops" / "build.py"
FIND = f"""
import runpy
found = runpy.run_path({str(BUILD)!r})["find_tensorflow"]()
print("nowhere" if found is None else "outside" if "PYTHONPATH" not in found else "at hand")
"""
# What pip puts into an environment that it builds in.
HIDE = """
import sys, sysconfig
hidden = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
sys.path[:] = [path for path in sys.path if path not in hidden]
"""


def found(folder):
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", FIND]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.strip()


@pytest.fixture
def isolated(tmp_path):
    """A folder that, on PYTHONPATH, hides what is installed."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    return tmp_path


def test_tensorflow_is_found_where_it_is_installed(tmp_path):
    assert found(tmp_path) == "at hand"


def test_in_pips_isolated_build_it_is_found_in_the_environment_that_pip_installs_into(isolated):
    assert found(isolated) == "outside"


def test_where_there_is_none_nothing_is_found(isolated, monkeypatch, tmp_path):
    empty = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True)
    monkeypatch.setattr(sys, "executable", str(empty / "bin" / "python"))
    assert found(isolated) == "nowhere"
