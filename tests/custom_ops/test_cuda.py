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


def build_objects(folder, sources, *flags):
    """Objects by their names; of (path, name, flags) each."""

    def build(source):
        path, name, given = source
        run([COMPILER, *HOST, *flags, f"-I{ROOT}", *given, "-c", path, "-o", folder / f"{name}.o"])
        return name, folder / f"{name}.o"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(pool.map(build, sources))


def emulated_units():
    """The sources of the CUDA kernels, to be compiled for the CPU."""
    cuda = settings()
    units = [(path, name, ["-x", "c++", *given]) for path, name, given in cuda["kernel_units"]()]
    return units + [(path, name, []) for path, name in cuda["host_units"]()]


def cpu_units():
    """The CPU's kernels."""
    cpu = settings("build")
    for source in (*cpu["LOOP_SOURCES"], *cpu["PLAIN_SOURCES"]):
        # The harness has a table of its own, and the CUDA kernels come with this layout.
        if source not in ("apply/table.cc", "norm/layout.cc"):
            name = source.replace("/", "_")
            yield ROOT / "custom_ops" / source, f"cpu_{name}", ["-DTFOPT_ISA=baseline"]


@pytest.fixture(
    scope="module",
    params=[(), pytest.param(SANITIZERS, marks=pytest.mark.slow)],
    ids=["plain", "sanitizers"],
)
def harness(request, tmp_path_factory):
    """harness(name, more): runs a harness built with the emulated kernels and more units; what it prints."""
    folder = tmp_path_factory.mktemp("cuda")
    objects = build_objects(folder, emulated_units(), *request.param)

    def build(name, more=()):
        units = [*more, (ROOT / "tests" / "custom_ops" / f"{name}.cc", name, [])]
        own = build_objects(folder, units, *request.param)
        run([COMPILER, *request.param, *objects.values(), *own.values(), "-o", folder / name])
        return run([folder / name])

    return build


def rules():
    return (ROOT / "custom_ops" / "rules" / "index.inc").read_text().count("\nTFOPT_RULE(")


@needs_compiler
def test_every_rule_equals_the_cpu_kernel_and_bad_arguments_are_refused(harness):
    assert int(harness("cuda_harness", cpu_units()).split()[0]) >= rules() * 10 * 7


@pytest.mark.slow
@needs_compiler
def test_normalisation_equals_the_formulas_and_bad_arguments_are_refused(harness):
    assert int(harness("cuda_normalize_harness").split()[0]) >= 50 * 3 * 2


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


WIDTHS = {"float": 4, "half": 8, "bfloat16": 8}
# The last number of each is the elements of an access: of held rows, of columns, of stretches.
NORMALIZATION = re.compile(r"(?:Holding|Column\w+|Stretch\w+)<[\w:]+(?:, \d+)*, (\d+)[>,]")


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("name", WIDTHS)
def test_all_tensors_that_are_normalised_are_accessed_in_16_bytes(tmp_path, name):
    (unit,) = units(f"normalize_{name}")
    said = compile_kernels(tmp_path, unit, "-ptx", "-arch=compute_90")
    assert "warning" not in said
    entries = (tmp_path / f"normalize_{name}.out").read_text().split(".entry ")[1:]
    wide = []
    for entry in entries:
        assert ".local" not in entry
        shown = run(["c++filt", entry.split("(")[0]])
        found = NORMALIZATION.search(shown)
        if not found or int(found[1]) != WIDTHS[name]:
            continue
        wide.append(shown)
        # x, and in the backward pass the gradient with respect to y.
        assert accesses(entry, "ld") >= 1 + ("BackwardPass" in shown)
        # Sums are stored as pairs, results as they came.
        assert accesses(entry, "st") >= 1 or "Sums" in shown
    assert len(wide) == 2 * (4 + 2 + 4)


# Kernels of a compilation, beside those of rules: the norm's; of either pass held rows, columns and
# stretches, in wide accesses and single ones, and what goes by parameters; what puts sums together.
KERNELS = {"norm": 6, "normalize_combine": 3 * 4 + 1} | {
    f"normalize_{name}": 2 * 2 * (4 + 2 + 4) + 2 for name in WIDTHS
}
UPDATES = ["update_float", "update_double", "update_half", "update_bfloat16"]
NORMALIZE = [f"normalize_{name}" for name in WIDTHS]


@needs_nvcc
@pytest.mark.parametrize(
    ("names", "architectures"),
    [
        (["update_float", "norm", "normalize_combine"], ["90"]),
        pytest.param(NORMALIZE, ["90"], marks=pytest.mark.slow),
        pytest.param([*UPDATES, "norm", "normalize_combine"], ["80", "90", "100"], marks=pytest.mark.slow),
    ],
    ids=["float", "normalisation", "all"],
)
def test_no_kernel_spills_registers(tmp_path, names, architectures):
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    for unit in units(*names):
        said = compile_kernels(tmp_path, unit, "-Xptxas=-v", "-c", *targets)
        compiled = said.count("Compiling entry function")
        assert compiled == len(architectures) * KERNELS.get(unit[1], rules())
        assert "warning" not in said
        assert said.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == compiled
