"""Which processes count as runs of the command."""

import os
import sys

import pytest

from tfopt._command import quieten_the_command, runs_the_command


@pytest.mark.parametrize(
    ("arguments", "original", "expected"),
    [
        (["/somewhere/bin/tfopt", "compare"], ["python", "/somewhere/bin/tfopt", "compare"], True),
        (["-m", "compare"], ["python", "-m", "tfopt", "compare"], True),
        (["-m", "compare"], ["python", "-X", "dev", "-mtfopt", "compare"], True),
        (["-m"], ["python", "-m", "tfopt"], True),
        (["-m", "tfopt"], ["python", "-m", "pytest", "tfopt"], False),
        (["train.py", "-m", "tfopt"], ["python", "train.py", "-m", "tfopt"], False),
        (["-c"], ["python", "-c", "import tfopt"], False),
        ([""], ["python"], False),
    ],
)
def test_the_command_is_told_from_programs_that_import_tfopt(arguments, original, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert runs_the_command() is expected


def test_a_level_that_the_user_set_stays(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tfopt"])
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quieten_the_command()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    quieten_the_command()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
