"""The kernels without TensorFlow, under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer."""

import os
import pathlib
import re
import runpy
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "g++"))

pytestmark = [
    pytest.mark.skipif(not (ROOT / "custom_ops").is_dir(), reason="no source tree around the tests"),
    pytest.mark.skipif(not COMPILER, reason="no C++ compiler"),
]


def compile_objects(folder, *flags, instructions=None):
    """The kernels for each instruction set, or for some, and their table, as objects."""
    settings = runpy.run_path(str(ROOT / "custom_ops" / "build.py"))
    units = [
        (source, f"{settings['LOOPS']} {wide} -DTFOPT_ISA={isa}", f"{pathlib.Path(source).stem}_{isa}")
        for source in settings["LOOP_SOURCES"]
        for isa, wide in settings["INSTRUCTIONS"].items()
        if instructions is None or isa in instructions
    ]
    units += [(source, settings["COMMON"], pathlib.Path(source).stem) for source in settings["PLAIN_SOURCES"]]
    made = []
    for source, given, name in units:
        made.append(str(folder / f"{name}.o"))
        run(
            [
                COMPILER,
                *given.split(),
                *flags,
                f"-I{ROOT}",
                "-c",
                str(ROOT / "custom_ops" / source),
                "-o",
                made[-1],
            ]
        )
    return made


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def link(folder, name, objects, *checks):
    """A harness and the kernels, as a program."""
    source = ROOT / "tests" / "custom_ops" / f"{name}.cc"
    made = str(folder / name)
    includes = (f"-I{ROOT}", f"-I{source.parent}")
    run([COMPILER, "-std=c++17", "-pthread", *checks, *includes, str(source), *objects, "-o", made])
    return made


def build(folder, name, *checks):
    return link(folder, name, compile_objects(folder, *checks), *checks)


ADDRESSES = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREADS = ("-O1", "-g", "-fsanitize=thread")


def least_cases():
    """Of each harness, for an instruction set."""
    rules = (ROOT / "custom_ops" / "rules" / "index.inc").read_text().count("\nTFOPT_RULE(")
    layouts = (
        (ROOT / "tests" / "custom_ops" / "normalize_reference.h").read_text().split("kGeometries[] = {")[1]
    )
    count = len(re.findall(r"\{\d+, \d+", layouts.split("};")[0]))
    return {"harness": rules * 4 * 2 * 2 * 4, "normalize_harness": count * 3 * 2}


def test_kernels_stay_within_their_buffers_and_are_right(tmp_path):
    """Those of one instruction set, of rules and of normalisation."""
    checks = (*ADDRESSES, "-DTFOPT_BASELINE_ONLY")
    objects = compile_objects(tmp_path, *checks, instructions=["baseline"])
    for name, least in least_cases().items():
        assert int(run([link(tmp_path, name, objects, *checks)]).split()[0]) >= least


@pytest.mark.slow
def test_every_rule_stays_within_its_buffers_and_is_right(tmp_path):
    assert int(run([build(tmp_path, "harness", *ADDRESSES)]).split()[0]) >= least_cases()["harness"]


@pytest.mark.slow
@pytest.mark.parametrize("checks", [ADDRESSES, THREADS], ids=["addresses", "threads"])
def test_normalisation_stays_within_its_buffers_and_is_right(tmp_path, checks):
    found = int(run([build(tmp_path, "normalize_harness", *checks)]).split()[0])
    assert found >= least_cases()["normalize_harness"]


@pytest.mark.parametrize("checks", [ADDRESSES, THREADS], ids=["addresses", "threads"])
def test_the_pool_hands_out_memory_again_and_holds_no_more_than_was_used(tmp_path, checks):
    made, folder = str(tmp_path / "pool"), ROOT / "tests" / "custom_ops"
    sources = [str(ROOT / "custom_ops" / "norm" / "pool.cc"), str(folder / "pool_harness.cc")]
    run([COMPILER, "-std=c++17", "-Wall", "-Wextra", "-pthread", *checks, f"-I{ROOT}", *sources, "-o", made])
    run([made])


@pytest.mark.slow
def test_no_instruction_set_leaks_into_another(tmp_path):
    """An inline function of a wide object could serve the narrow one too; they must share no symbol."""
    for path in compile_objects(tmp_path, "-O3"):
        if pathlib.Path(path).stem.startswith(("kernels_", "squares_", "stretches_", "loops_")):
            shared = [line for line in run(["nm", path]).splitlines() if line.split()[-2] in "WVu"]
            assert shared == []


def test_every_loop_is_vectorised(tmp_path):
    """Two loops per rule, float and double, and ten more."""
    assert "couldn't vectorize loop" not in said_of(tmp_path, "apply/kernels.cc", "-fopt-info-vec-missed")


@pytest.mark.slow
def test_every_loop_of_normalisation_over_elements_is_vectorised(tmp_path):
    source = "norm/loops.cc"
    lines = (ROOT / "custom_ops" / source).read_text().splitlines()
    said = said_of(tmp_path, source, "-fopt-info-vec-optimized-missed")
    marked = [number + 1 for number, text in enumerate(lines, 1) if text.startswith("#pragma GCC ivdep")]
    assert len(marked) >= 6
    assert [n for n in marked if not re.search(rf"loops\.cc:{n}:\d+: optimized: loop vectorized", said)] == []
    # A template may be so for one type, and not for another.
    missed = "missed: couldn't vectorize loop"
    assert [n for n in marked if re.search(rf"loops\.cc:{n}:\d+: {missed}", said)] == []


@pytest.mark.slow
def test_every_loop_of_normalisation_asks_for_memory_ahead(tmp_path):
    """Nothing but speed would tell: the compiler may drop what has no effect that it sees."""
    said_of(tmp_path, "norm/loops.cc", "-w")
    program = run(["objdump", "-d", "-C", str(tmp_path / "k.o")])
    loops = re.findall(r"^\S+ <void tfopt::.*?>:\n(.*?)(?:\n\n|\Z)", program, re.DOTALL | re.MULTILINE)
    assert len(loops) >= 3 * 12  # six that sum, and three of each pass that write, for each type
    assert [code for code in loops if not re.search("prefetch|prfm", code)] == []


def test_sums_of_squares_are_vectorised(tmp_path):
    """Their loops over stretches and over what is left need not be; the one over the lanes must."""
    lines = (ROOT / "custom_ops" / "apply" / "squares.cc").read_text().splitlines()
    (line,) = [number for number, text in enumerate(lines, 1) if "add_square(x[k]" in text]
    said = said_of(tmp_path, "apply/squares.cc", "-fopt-info-vec-optimized")
    assert len(re.findall(rf"squares\.cc:{line}:\d+: optimized: loop vectorized", said)) >= 2  # float, double


def said_of(folder, name, flag):
    """What the compiler says of one file's loops, for AVX2."""
    settings = runpy.run_path(str(ROOT / "custom_ops" / "build.py"))
    flags = [*settings["LOOPS"].split(), *settings["INSTRUCTIONS"].get("avx2", "").split()]
    source = str(ROOT / "custom_ops" / name)
    command = [COMPILER, *flags, "-DTFOPT_ISA=tried", flag, f"-I{ROOT}", "-c", source]
    output = ["-o", str(folder / "k.o")]
    return subprocess.run([*command, *output], capture_output=True, text=True, check=True).stderr


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    """threads.cc and the kernels, built with ThreadSanitizer."""
    return build(tmp_path_factory.mktemp("threads"), "threads", *THREADS)


@pytest.mark.slow
def test_ranges_that_do_not_overlap_may_run_at_the_same_time(threads):
    rules = (ROOT / "custom_ops" / "rules" / "index.inc").read_text().count("\nTFOPT_RULE(")
    assert int(run([threads]).split()[0]) >= rules * 4 * 2


@pytest.mark.slow
def test_the_sanitizer_sees_ranges_that_do_overlap(threads):
    done = subprocess.run([threads, "overlap"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "data race" in done.stderr
