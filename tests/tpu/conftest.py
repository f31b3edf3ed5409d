"""What the tests of TPU programs share: the way from a function to a TPU compiler's report, with no TPU."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

# A Python with jax and libtpu, where the one that runs the tests has none.
INTERPRETER = os.environ.get("TFOPT_TPU_PYTHON", sys.executable)
COMPILE = pathlib.Path(__file__).with_name("compile_for_tpu.py")


def pytest_collection_modifyitems(items):
    """Every program costs the compiler seconds."""
    for item in items:
        if COMPILE.parent in item.path.parents and "program_of" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def interpreter():
    """A Python that can compile for a TPU."""
    run = [INTERPRETER, "-c", "import jax, libtpu"]
    done = subprocess.run(
        run, capture_output=True, text=True, check=False, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    if done.returncode:
        pytest.skip(
            f"{INTERPRETER}: {done.stderr.strip().splitlines()[-1]}; TFOPT_TPU_PYTHON may name another"
        )
    return INTERPRETER


@pytest.fixture
def program_of(portably):
    """program_of(function, *arguments): StableHLO of a function as a TPU would be given it."""

    def export(function, *arguments):
        compiled = tf.function(function, jit_compile=True, autograph=False)
        make = compiled.experimental_get_compiler_ir(*arguments)
        text = portably(lambda: make(stage="stablehlo", platform_name="CPU"))
        assert "custom_call" not in text, "a call of a CPU's kernel"
        # The copies are of another dialect, left behind on results.
        return text.replace("mhlo.copy", "stablehlo.convert")

    return export


@pytest.fixture
def compiled(interpreter, tmp_path):
    """compiled({name: StableHLO}): what the compiler says of each."""

    def run(texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.mlir").write_text(text)
        command = [interpreter, str(COMPILE), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
