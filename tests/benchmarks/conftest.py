"""Loads the source tree's benchmarks/, which import the tfopt under test."""

import importlib
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmarks():
    """benchmarks(name): one of their modules; skips where there is no source tree."""
    if not (ROOT / "benchmarks" / "__main__.py").is_file():
        pytest.skip("no source tree around the tests")
    with pytest.MonkeyPatch.context() as patch:
        # Last on the path, so that an installed tfopt stays in front of the sources.
        patch.setattr(sys, "path", [*sys.path, str(ROOT)])
        yield lambda name: importlib.import_module(f"benchmarks.{name}")
