"""What nvcc compiles: the kernels of custom_ops/*/cuda, with a plain C entry point, free of TensorFlow.

``python custom_ops/build_cuda.py FOLDER`` leaves libtfopt_cuda_plain.so there, for programs of any kind. It
is built for the GPUs that TFOPT_CUDA_ARCHITECTURES names; with ``--emulated`` g++ compiles the same sources
to run in loops on the CPU. custom_ops/build.py puts the kernels into the library for TensorFlow.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CUDA = HERE / "apply" / "cuda"
NORM = HERE / "norm" / "cuda"
PLAIN = "libtfopt_cuda_plain.so"

COMMON = f"-std=c++17 -O3 -I{ROOT}"
NVCC_FLAGS = [*shlex.split(COMMON), "-Xcompiler=-fPIC,-fvisibility=hidden"]
GXX_FLAGS = [*shlex.split(COMMON), "-fPIC", "-fvisibility=hidden"]
WEIGHTS = ("float", "double", "Half", "Bfloat16")
ELEMENTS = ("float", "Half", "Bfloat16")  # of tensors that are normalised
# Machine code for A100, H100, B200 and their families; other GPUs since Turing compile their own.
ARCHITECTURES = "80,90,100"
OLDEST = "75"
DRIVER = pathlib.Path("/proc/driver/nvidia/version")


def kernel_units():
    """(source, name of the object, flags) of each compilation with nvcc."""
    for weight in WEIGHTS:
        table = f"k{weight.capitalize()}Kernels"
        flags = [f"-DTFOPT_WEIGHT={weight}", f"-DTFOPT_KERNELS={table}"]
        yield CUDA / "update.cu", f"update_{weight.lower()}", flags
    yield CUDA / "norm.cu", "norm", []
    for element in ELEMENTS:
        table = f"k{element.capitalize()}Normalize"
        flags = [f"-DTFOPT_TYPE={element}", f"-DTFOPT_KERNELS={table}"]
        yield NORM / "normalize.cu", f"normalize_{element.lower()}", flags
    yield NORM / "combine.cu", "normalize_combine", []


def host_units():
    """(source, name of the object) of what a C++ compiler makes for the plain C entry point."""
    for name in ("api", "check", "faults"):
        yield CUDA / f"{name}.cc", name
    for name in ("check", "normalize", "plan"):
        yield NORM / f"{name}.cc", f"normalize_{name}"
    yield HERE / "norm" / "layout.cc", "normalize_layout"


def targets():
    """Flags that name the GPUs to compile for."""
    chosen = os.environ.get("TFOPT_CUDA_ARCHITECTURES", ARCHITECTURES).split(",")
    machine = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in chosen]
    return [*machine, f"-gencode=arch=compute_{OLDEST},code=compute_{OLDEST}"]


def nvcc():
    """Path of nvcc, None where there is none."""
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc") or (home and shutil.which("nvcc", path=f"{home}/bin"))


def wanted():
    """Whether to compile for GPUs: as TFOPT_CUDA says, else where there are nvcc and an NVIDIA driver.

    Raises:
        RuntimeError: If TFOPT_CUDA=1 asks for what cannot be compiled here.
    """
    choice = os.environ.get("TFOPT_CUDA", "")
    if choice not in ("", "0", "1"):
        raise RuntimeError(f"TFOPT_CUDA={choice}: expected 0, 1 or nothing.")
    if choice == "1" and not nvcc():
        raise RuntimeError("TFOPT_CUDA=1: there is no nvcc on PATH or in CUDA_HOME.")
    return choice == "1" or (choice == "" and bool(nvcc()) and DRIVER.exists())


def runtime():
    """Flags that link CUDA's runtime, statically: programs bring runtimes of their own."""
    said = subprocess.run(
        [nvcc(), "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False
    )
    listed = [line.split("LIBRARIES=")[1] for line in said.stderr.splitlines() if "LIBRARIES=" in line]
    return [*shlex.split(" ".join(listed)), "-lcudart_static", "-ldl", "-lrt", "-lpthread"]


def build_plain(folder, emulated=False):
    """Compile the plain library into `folder`; its path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cxx = os.environ.get("CXX", "g++")
    device = [cxx, *GXX_FLAGS, "-x", "c++"] if emulated else [nvcc() or "nvcc", *NVCC_FLAGS, *targets()]
    jobs = [([*device, *flags], path, name) for path, name, flags in kernel_units()]
    jobs += [([cxx, *GXX_FLAGS], path, name) for path, name in host_units()]

    def compile_one(job):
        command, path, name = job
        made = folder / f"{name}.o"
        _run([*command, "-c", path, "-o", made])
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, jobs))
    library = folder / PLAIN
    _run([cxx, "-shared", "-o", library, *objects, *([] if emulated else runtime()), "-Wl,-z,defs"])
    return library


def _run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(map(str, command))}\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    print(build_plain(sys.argv[1], "--emulated" in sys.argv[2:]))
