"""What a fresh process does with an installed wheel, and with libraries missing, cut off or foreign."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import numpy as np
import pytest

import tfopt

ROOT = pathlib.Path(__file__).resolve().parents[2]
CPU, XLA = "libtfopt_cpu.so", "libtfopt_xla.so"

# Trains twice, plainly and compiled by XLA, and ends as `python -m tfopt kernels` does.
TRAIN = """
import json, sys
import keras, numpy as np, tfopt
from tfopt.__main__ import main
found = tfopt.kernels.status()

def losses(jit):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(tfopt.Adam(0.1), "mse", jit_compile=jit)
    x = np.random.normal(size=(64, 2))
    return model.fit(x, x @ [[1.0], [-1.0]], epochs=3, verbose=0).history["loss"]

print(json.dumps({"losses": losses(False) + losses(True), "kernels": len(found), "at": tfopt.__file__}))
sys.exit(main(["kernels"]))
"""


class Done:
    """What came of a process that trained."""

    def __init__(self, python=sys.executable, **environment):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TFOPT_", "PYTHON"))}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        process = subprocess.run(
            [python, "-c", TRAIN],
            env=inherited | quiet | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.status, self.printed, self.said = process.returncode, process.stdout, process.stderr
        lines = [line for line in self.printed.splitlines() if line.startswith("{")]
        assert lines, f"exit status {self.status}\n{self.said}"
        self.result = json.loads(lines[0])

    @property
    def warnings(self):
        """What tfopt's log said."""
        return [line for line in self.said.splitlines() if line.startswith("tfopt ")]


@pytest.fixture
def package(tmp_path, loaded):
    """Folder of a copy of tfopt, in a folder of its own, with the libraries."""
    return pathlib.Path(shutil.copytree(pathlib.Path(tfopt.__file__).parent, tmp_path / "tfopt"))


@pytest.fixture
def trained(package, monkeypatch):
    """trained(): the copy at work, in an empty folder."""
    (package.parent / "empty").mkdir()
    monkeypatch.chdir(package.parent / "empty")

    def run(**environment):
        done = Done(PYTHONPATH=str(package.parent), **environment)
        assert done.result["at"] == str(package / "__init__.py")
        return done

    return run


@pytest.fixture(scope="module")
def expected():
    """Losses by the Python rules."""
    return Done(TFOPT_KERNELS="off", PYTHONPATH=str(pathlib.Path(tfopt.__file__).parents[1])).result["losses"]


def cut_off(path, keep):
    """Keep the first part of a file, as a full disk does."""
    os.truncate(path, int(path.stat().st_size * keep))


def assert_trains_on_rules(done, expected, cause):
    np.testing.assert_allclose(done.result["losses"], expected, rtol=1e-6)
    (warning,) = done.warnings
    assert cause in warning
    assert warning.split(": ", 1)[1] in done.printed
    assert (done.status, done.result["kernels"]) == (1, 0)


def test_without_its_libraries_it_trains_and_says_so_once(package, trained, expected):
    for path in (package / "kernels").glob("libtfopt_*"):
        path.unlink()
    assert_trains_on_rules(trained(), expected, f"{CPU} was not built")


@pytest.mark.parametrize(
    "keep", [0.5, *(pytest.param(part, marks=pytest.mark.slow) for part in (0.0, 0.1, 0.99))]
)
def test_a_library_that_was_cut_off_does_not_kill_the_process(package, trained, expected, keep):
    cut_off(package / "kernels" / CPU, keep)
    assert_trains_on_rules(trained(), expected, f"{CPU} is damaged")


@pytest.mark.slow
def test_libraries_for_another_tensorflow_are_left_alone(package, trained, expected):
    for path in (package / "kernels").glob("libtfopt_*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tensorflow": "2.20.0"}))
    assert_trains_on_rules(trained(), expected, "built for TensorFlow 2.20.0, this is")


@pytest.mark.slow
def test_a_lowering_that_was_cut_off_leaves_the_kernels(package, trained, expected, loaded):
    if not (package / "kernels" / XLA).exists():
        pytest.skip(loaded.lowering_reason)
    cut_off(package / "kernels" / XLA, 0.5)
    done = trained()
    np.testing.assert_allclose(done.result["losses"], expected, rtol=1e-4)
    (warning,) = done.warnings
    assert f"{XLA} is damaged" in warning
    assert (done.status, done.result["kernels"]) == (0, len(loaded.kernels))


# -- The wheel -------------------------------------------------------------------------------------------

PACKED = (
    "tfopt",
    "custom_ops",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
)


@pytest.fixture
def build_wheel(tmp_path):
    """build_wheel(**environment): the wheel of a copy of the source tree."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("no source tree around the tests")

    def build(**environment):
        source = tmp_path / "source"
        for name in PACKED:
            _copy(ROOT / name, source / name)
        command = [
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(tmp_path),
            str(source),
        ]
        pip(*command, **environment)
        (made,) = tmp_path.glob("*.whl")
        return made

    return build


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """installed(wheel): Python of a new environment that holds the wheel, and sees what else is here."""

    def install(wheel):
        venv.create(tmp_path / "fresh", symlinks=True)
        python = tmp_path / "fresh" / "bin" / "python"
        pip("--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
        (own,) = (tmp_path / "fresh").glob("lib/python*/site-packages")
        (own / "host.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        return python

    return install


def pip(*arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(
        command, env=clean | quiet | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def libraries_in(wheel):
    return sorted(pathlib.Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "libtfopt" in name)


def _copy(source, target):
    if source.is_file():
        shutil.copy(source, target)
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("libtfopt_*", "__pycache__"))


@pytest.mark.slow
def test_a_wheel_brings_its_kernels(build_wheel, installed, expected, tmp_path, loaded):
    wheel = build_wheel()
    assert "-py3-none-linux_" in wheel.name
    assert libraries_in(wheel) == sorted(
        f"{name}.{end}" for name in (CPU[:-3], XLA[:-3]) for end in ("json", "so")
    )
    done = Done(installed(wheel))
    assert done.result["at"].startswith(str(tmp_path / "fresh"))
    np.testing.assert_allclose(done.result["losses"], expected, rtol=1e-4)
    assert (done.status, done.result["kernels"], done.warnings) == (0, len(loaded.kernels), [])


@pytest.mark.slow
def test_without_a_compiler_the_wheel_is_pure_and_works(build_wheel, installed, expected, tmp_path):
    wheel = build_wheel(CXX="/nonexistent")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert libraries_in(wheel) == []
    done = Done(installed(wheel))
    assert done.result["at"].startswith(str(tmp_path / "fresh"))
    assert_trains_on_rules(done, expected, f"{CPU} was not built")


@pytest.mark.slow
def test_a_compiler_that_fails_leaves_python(build_wheel):
    wheel = build_wheel(CXX="false")
    assert libraries_in(wheel) == []
