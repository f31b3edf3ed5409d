"""Compile the op libraries with g++, from headers and libraries of the TensorFlow that is installed.

``python custom_ops/build.py FOLDER`` leaves them in FOLDER; setup.py does the same for a wheel. The library
for NVIDIA GPUs is built where build_cuda.py says so.
"""

import concurrent.futures
import functools
import hashlib
import itertools
import json
import os
import pathlib
import platform
import re
import runpy
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
COMPILER = os.environ.get("CXX", "g++")
JOBS = 2
CUDA = runpy.run_path(str(HERE / "build_cuda.py"))

COMMON = "-std=c++17 -fPIC -fvisibility=hidden -Wall -Wextra"
# Loops: what keeps a compiler from vectorising is off, what would change a NaN or an infinity is not on.
LOOPS = f"{COMMON} -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -fno-exceptions -fno-rtti"
INSTRUCTIONS = {"baseline": ""}
if platform.machine() == "x86_64":
    INSTRUCTIONS["avx2"] = "-mavx2 -mfma -mf16c"
    INSTRUCTIONS["avx512"] = (
        f"{INSTRUCTIONS['avx2']} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512"
    )
# Loops, compiled for every instruction set, and what runs them; none of it includes TensorFlow.
LOOP_SOURCES = (
    "apply/kernels.cc",
    "apply/squares.cc",
    "apply/stretches.cc",
    "codes/descent.cc",
    "norm/loops.cc",
)
PLAIN_SOURCES = (
    "apply/table.cc",
    "apply/gradient.cc",
    "apply/apply.cc",
    "apply/norm.cc",
    "apply/rows.cc",
    "norm/layout.cc",
    "norm/forward.cc",
    "norm/backward.cc",
    "norm/pool.cc",
)
# What kernels on all devices share.
SHARED_SOURCES = (
    "kernels/fused_update_op.cc",
    "kernels/global_norm_op.cc",
    "kernels/gradients.cc",
    "kernels/normalize_op.cc",
    "kernels/resources.cc",
)
XLA_SOURCES = (
    "fused_update",
    "global_norm",
    "rows",
    "operations",
    "call",
    "buffers",
    "row_buffers",
    "normalize",
    "normalize_operations",
    "normalize_buffers",
    "handlers",
    "platform",
)
# TensorFlow's own variables hand out a mutex it calls deprecated.
GLUE = f"{COMMON} -O2 -DNDEBUG -Wno-deprecated-declarations"

PROBE = """
import json, tensorflow as tf
print(json.dumps([tf.__version__, tf.sysconfig.get_include(), tf.sysconfig.get_compile_flags(),
                  tf.sysconfig.get_link_flags()]))
"""


# pip builds in an environment that holds the requirements of the build alone; by these variables it hides the
# one that it installs into, where TensorFlow is.
ISOLATION = ("PYTHONPATH", "PYTHONNOUSERSITE")


def find_tensorflow():
    """Environment variables under which Python finds a TensorFlow, which is not loaded; None without one."""
    outside = {name: value for name, value in os.environ.items() if name not in ISOLATION}
    find = "import importlib.util as u, sys; sys.exit(u.find_spec('tensorflow') is None)"
    for variables in (dict(os.environ), outside):
        if subprocess.run([sys.executable, "-c", find], env=variables, check=False).returncode == 0:
            return variables
    return None


class Host:
    """The TensorFlow to build for: its version, include folder and flags."""

    def __init__(self):
        variables = find_tensorflow()
        if variables is None:
            raise RuntimeError(f"{sys.executable} has no TensorFlow to build for.")
        # In a process of its own: a build must not carry a loaded TensorFlow.
        quiet = variables | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        said = subprocess.run(
            [sys.executable, "-c", PROBE], env=quiet, capture_output=True, text=True, check=True
        )
        self.version, include, flags, self.link = json.loads(said.stdout.splitlines()[-1])
        # As system headers, so that warnings are about this project's code.
        self.flags = ["-isystem", include, *(f for f in flags if not f.startswith(("-I", "--std", "-std")))]
        # Headers of XLA include these two by short names.
        for short in ("external/highwayhash", "external/farmhash_archive/src"):
            self.flags += ["-isystem", f"{include}/{short}"]


def cpu_units(host):
    """(source, name of the object, flags) of each compilation of the CPU library."""
    for source, (name, flags) in itertools.product(LOOP_SOURCES, INSTRUCTIONS.items()):
        given = [*shlex.split(f"{LOOPS} {flags}"), f"-DTFOPT_ISA={name}"]
        yield HERE / source, f"{pathlib.Path(source).stem}_{name}", given
    for source in (*PLAIN_SOURCES, "kernels/description.cc"):
        yield HERE / source, pathlib.Path(source).stem, shlex.split(GLUE)
    for source in (
        "ops/bundle.cc",
        "ops/exposure.cc",
        "ops/fused_update.cc",
        "ops/global_norm.cc",
        "ops/normalize.cc",
        "ops/rows.cc",
        "ops/sparse_codes.cc",
        "kernels/bundle.cc",
        "kernels/exposure.cc",
        "kernels/fused_update.cc",
        "kernels/global_norm.cc",
        "kernels/normalize.cc",
        "kernels/row_inputs.cc",
        "kernels/rows.cc",
        "kernels/sparse_codes.cc",
        *SHARED_SOURCES,
    ):
        yield HERE / source, source.replace("/", "_")[:-3], [*shlex.split(GLUE), *host.flags]
    source = HERE / "kernels" / "pool_allocator.cc"
    yield source, "kernels_pool_allocator", [*shlex.split(f"{GLUE} -fno-rtti"), *host.flags]


def xla_units(host):
    """The same for the library with the lowering to XLA."""
    for name in XLA_SOURCES:
        yield HERE / "xla" / f"{name}.cc", f"xla_{name}", [*shlex.split(GLUE), *host.flags]


def cuda_units(host):
    """The same for the library with the kernels for NVIDIA GPUs."""
    for source, name, flags in CUDA["kernel_units"]():
        yield source, f"cuda_{name}", [*CUDA["NVCC_FLAGS"], *CUDA["targets"](), *flags]
    for source, name in CUDA["host_units"]():
        yield source, f"cuda_{name}", shlex.split(GLUE)
    yield HERE / "apply" / "gradient.cc", "gradient", shlex.split(GLUE)
    gpu = [f"kernels/{name}.cc" for name in ("gpu", "fused_update_gpu", "global_norm_gpu", "normalize_gpu")]
    for source in (*gpu, *SHARED_SOURCES):
        yield HERE / source, source.replace("/", "_")[:-3], [*shlex.split(GLUE), *host.flags]


# Compiled programs run the kernels of the CPU library, which lies in the same folder.
BESIDE = ("-l:libtfopt_cpu.so", "-Wl,-rpath,$ORIGIN")


def libraries(cuda):
    """For each library its units and what else it links; with `cuda` the one for NVIDIA GPUs too."""
    made = {
        "libtfopt_cpu": (cpu_units, ()),
        "libtfopt_xla": (xla_units, (*BESIDE, "-l:libtensorflow_cc.so.2")),
    }
    if cuda:
        made["libtfopt_cuda"] = (cuda_units, CUDA["runtime"]())
    return made


def build(output, cache):
    """Compile into `output`; objects stay in `cache` and are used again while nothing changed.

    Raises:
        ExceptionGroup: If libraries fail to build, with what the compiler said; the others are there.
    """
    output, cache = pathlib.Path(output), pathlib.Path(cache)
    for folder in (output, cache):
        folder.mkdir(parents=True, exist_ok=True)
    host, failed = Host(), []
    try:
        built = libraries(CUDA["wanted"]())
    except RuntimeError as error:
        failed.append(error)
        built = libraries(cuda=False)
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        # Libraries share objects; each is compiled once.
        once = functools.cache(
            lambda source, name, *flags: pool.submit(_compile, host, cache, source, name, flags)
        )
        waiting = {
            library: [once(source, name, *flags) for source, name, flags in units(host)]
            for library, (units, _) in built.items()
        }
        for name, jobs in waiting.items():
            try:
                _link(host, output / f"{name}.so", [str(job.result()) for job in jobs], built[name][1])
            except RuntimeError as error:
                failed.append(error)
    if failed:
        raise ExceptionGroup("libraries that do not build", failed)


def _link(host, library, objects, others):
    found = [*host.link, f"-L{library.parent}", *others]
    _run([COMPILER, "-shared", "-o", str(library), *objects, *found, "-Wl,-z,defs", "-Wl,-s"])
    facts = {"tensorflow": host.version, "sha256": hashlib.sha256(library.read_bytes()).hexdigest()}
    library.with_suffix(".json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _compile(host, cache, source, name, flags, compiler=None):
    compiler = compiler or (CUDA["nvcc"]() if source.suffix == ".cu" else COMPILER)
    command = [compiler, *flags, f"-I{ROOT}", "-c", str(source)]
    made = cache / f"{name}-{_fingerprint(command, source, host)}.o"
    if not made.exists():
        partial = made.with_suffix(f".{os.getpid()}.tmp")
        _run([*command, "-o", str(partial)])
        partial.rename(made)
    return made


def _fingerprint(command, source, host):
    known = hashlib.sha256(repr((command, host.version)).encode())
    for path in sorted(_sources_of(source)):
        known.update(path.read_bytes())
    return known.hexdigest()[:16]


def _sources_of(path):
    """The file and all of this project's that it includes."""
    included = re.findall(r'#include "(custom_ops/[^"]+)"', path.read_text(encoding="utf-8"))
    return {path}.union(*(_sources_of(ROOT / name) for name in included))


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    build(sys.argv[1], ROOT / "build" / "ops")
