"""The CUDA kernels: their work in loops on the CPU against the CPU kernels, and what nvcc makes of them."""

import concurrent.futures
import os
import pathlib
import re
import runpy
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
NVCC = shutil.which("nvcc")

pytestmark = pytest.mark.skipif(not (ROOT / "custom_ops").is_dir(), reason="no source tree around the tests")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="no C++ compiler")
needs_nvcc = pytest.mark.skipif(not NVCC, reason="no nvcc")

SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Without contraction, so that both kernels round alike.
HOST = ("-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra")


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def settings(name="build_cuda"):
    return runpy.run_path(str(ROOT / "custom_ops" / f"{name}.py"))


def build_harness(folder, *flags):
    """The harness, with the sources of the CUDA kernels compiled for the CPU, and the CPU's own."""
    cuda, cpu = settings(), settings("build")
    sources = [(path, name, ["-x", "c++", *given]) for path, name, given in cuda["kernel_units"]()]
    sources += [(path, name, []) for path, name in cuda["host_units"]()]
    for source in (*cpu["LOOP_SOURCES"], *cpu["PLAIN_SOURCES"]):
        # The harness has a table of its own.
        if source != "apply/table.cc":
            name = source.replace("/", "_")
            sources.append((ROOT / "custom_ops" / source, f"cpu_{name}", ["-DTFOPT_ISA=baseline"]))
    sources.append((ROOT / "tests" / "custom_ops" / "cuda_harness.cc", "harness", []))

    def build(source):
        path, name, given = source
        run([COMPILER, *HOST, *flags, f"-I{ROOT}", *given, "-c", path, "-o", folder / f"{name}.o"])
        return folder / f"{name}.o"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(build, sources))
    run([COMPILER, *flags, *objects, "-o", folder / "harness"])
    return folder / "harness"


def rules():
    return (ROOT / "custom_ops" / "rules" / "index.inc").read_text().count("\nTFOPT_RULE(")


@needs_compiler
@pytest.mark.parametrize(
    "flags", [(), pytest.param(SANITIZERS, marks=pytest.mark.slow)], ids=["plain", "sanitizers"]
)
def test_every_rule_equals_the_cpu_kernel_and_bad_arguments_are_refused(tmp_path, flags):
    assert int(run([build_harness(tmp_path, *flags)]).split()[0]) >= rules() * 10 * 7


def compile_kernels(folder, unit, *flags):
    path, name, given = unit
    return run([NVCC, *settings()["NVCC_FLAGS"], *given, *flags, path, "-o", folder / f"{name}.out"])


def units(*names):
    return [unit for unit in settings()["kernel_units"]() if unit[1] in names]


def accesses(entry, kind):
    return len(re.findall(rf"\b{kind}\.global(?:\.\w+)*\.v4\.\w+", entry))


@needs_nvcc
@pytest.mark.parametrize(
    ("name", "per_slot"),
    [
        ("update_float", 1),
        pytest.param("update_double", 1, marks=pytest.mark.slow),
        pytest.param("update_half", 2, marks=pytest.mark.slow),
        pytest.param("update_bfloat16", 2, marks=pytest.mark.slow),
    ],
)
def test_all_memory_of_a_variable_is_accessed_in_16_bytes(tmp_path, name, per_slot):
    """Weight, slots, average, accumulator and gradient are loaded, all but the gradient stored."""
    (unit,) = units(name)
    compile_kernels(tmp_path, unit, "-ptx", "-arch=compute_90")
    entries = (tmp_path / f"{name}.out").read_text().split(".entry ")[1:]
    assert len(entries) == rules()
    slots = slots_of_rules()
    for entry in entries:
        stored = 1 + per_slot * (slots[rule_of(entry)] + 2)
        assert accesses(entry, "st") >= stored
        assert accesses(entry, "ld") >= stored + per_slot
        assert ".local" not in entry


def rule_of(entry):
    """The struct of a kernel's rule, from its mangled name; the outermost one of a template."""
    return re.search(r"UpdateWorkINS_\d+([A-Za-z]+?)(?:INS_\d+([A-Za-z]+?))?E", entry).groups()


def slots_of_rules():
    """Number of slots by the struct and its template argument."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "custom_ops" / "rules").glob("*.h")))
    found = {}
    for name, base, body in re.findall(r"^struct (\w+) : (\w+) \{(.*?)^\};", text, re.MULTILINE | re.DOTALL):
        declared = re.search(r"TFOPT_SLOTS\((.*?)\)", body)
        count = len(declared[1].split(",")) if declared else found.get((base, None), 0)
        found[name, None] = found["RmsPropNesterov", name] = count
    return found


@needs_nvcc
@pytest.mark.parametrize(
    ("names", "architectures"),
    [
        (["update_float", "norm"], ["90"]),
        pytest.param(
            ["update_float", "update_double", "update_half", "update_bfloat16", "norm"],
            ["80", "90", "100"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["float", "all"],
)
def test_no_kernel_spills_registers(tmp_path, names, architectures):
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    for unit in units(*names):
        said = compile_kernels(tmp_path, unit, "-Xptxas=-v", "-c", *targets)
        compiled = said.count("Compiling entry function")
        assert compiled >= len(architectures) * (rules() if unit[1] != "norm" else 5)
        assert said.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == compiled
