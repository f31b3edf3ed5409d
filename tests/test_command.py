"""Which processes count as runs of the command."""

import os
import subprocess
import sys

import pytest

import tfopt
from tfopt._command import quiet_in_the_command, runs_the_command


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


@pytest.fixture
def command(monkeypatch):
    """A run of the command by a user who has set no level."""
    monkeypatch.setattr(sys, "argv", ["tfopt"])
    # Set first, so that what the test leaves is undone.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")


def written(capfd):
    """What reaches file descriptor 2 during the import and after it."""
    with quiet_in_the_command():
        os.write(2, b"within ")
    os.write(2, b"after")
    return capfd.readouterr().err


def test_what_libraries_write_while_they_are_imported_is_dropped(command, capfd):
    assert written(capfd) == "after"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_a_level_that_the_user_set_stays(command, capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert written(capfd) == "within after"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_a_program_that_imports_tfopt_keeps_its_log(command, capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert written(capfd) == "within after"
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ


def test_an_import_that_fails_still_speaks(command, capfd):
    with pytest.raises(ImportError), quiet_in_the_command():
        raise ImportError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_a_closed_standard_error_is_left_alone():
    program = "import os, sys; sys.argv = ['tfopt']; os.close(2); import tfopt; print(tfopt.__version__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == tfopt.__version__
