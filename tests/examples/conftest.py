"""Loads the scripts of the source tree's examples/."""

import importlib.util
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def example(request):
    """The script that a file of tests is named after, as a module; skips where there is no source tree."""
    name = request.path.stem.removeprefix("test_")
    path = FOLDER / f"{name}.py"
    if not path.is_file():
        pytest.skip("no source tree around the tests")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
