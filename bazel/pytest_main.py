"""Runs the test files given as arguments under pytest, for Bazel's py_test."""

import sys

import pytest


def main(arguments):
    """Exit status of pytest; a file whose tests are all slow counts as passed."""
    status = pytest.main(["-m", "not slow", "-p", "no:cacheprovider", *arguments])
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
