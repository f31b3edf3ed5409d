"""The op's kernels for GPUs, run on the CPU: all of them but TensorFlow's stream and nvcc's machine code."""

import os
import pathlib
import runpy
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "custom_ops"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "custom_ops").is_dir(), reason="no source tree around the tests"),
    pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler"),
]


def build_library(folder):
    """The library for GPUs, but for the CPU: its kernels emulated, and `gpu_on_cpu.cc` in place of gpu.cc."""
    build = runpy.run_path(str(ROOT / "custom_ops" / "build.py"))
    host = build["Host"]()
    units = [*build["cuda_units"](host), *(u for u in build["cpu_units"](host) if u[0].parent.name == "ops")]
    made = []
    for source, name, flags in units:
        if source.suffix == ".cu":
            name, flags = f"emulated_{name}", [*build["CUDA"]["GXX_FLAGS"], "-x", "c++", *flags_of(flags)]
        elif source.name == "gpu.cc":
            source, name = HERE / "gpu_on_cpu.cc", "gpu_on_cpu"
        compiler = build["COMPILER"]
        # Objects that the build of the libraries has left are used again.
        made.append(build["_compile"](host, ROOT / "build" / "ops", source, name, flags, compiler))
    build["_link"](host, folder / "libemulated.so", list(map(str, made)), ())
    return folder / "libemulated.so"


def flags_of(flags):
    return [flag for flag in flags if flag.startswith("-DTFOPT")]


def test_the_kernels_for_gpus_equal_the_python_paths(tmp_path):
    command = [sys.executable, str(HERE / "gpu_on_cpu.py"), str(build_library(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert [int(count) for count in done.stdout.split()[-2:]] == [7 * 4 * 7 - 2 * 4, 13 * 3]
