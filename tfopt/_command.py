"""Whether tfopt is being imported to run its command, where TensorFlow's own log lines are out of place."""

import contextlib
import os
import pathlib
import sys

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
STDERR = 2


@contextlib.contextmanager
def quiet_in_the_command():
    """Keep TensorFlow's log off the standard error of `tfopt` and `python -m tfopt`; import it within.

    TensorFlow decides at its import what it logs, and tfopt's package is imported, TensorFlow with it, before
    any module of the command runs. Some lines it writes while it is imported, whatever the level: of its
    oneDNN operations, where the processor has them switched on. A program that imports tfopt keeps its own
    setting, and so does a user who sets TF_CPP_MIN_LOG_LEVEL.
    """
    if not runs_the_command() or LEVEL in os.environ:
        yield
        return
    os.environ[LEVEL] = "3"
    with _without_stderr():
        yield


def runs_the_command():
    """Whether this process was started as `tfopt ...` or `python -m tfopt ...`."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    # While Python looks for the module that -m names, "-m" stands in its place.
    if program == "-m":
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "tfopt"
    return pathlib.Path(program).name == "tfopt"


@contextlib.contextmanager
def _without_stderr():
    """Drop what the process writes to file descriptor 2, libraries in C++ among it."""
    try:
        kept = os.dup(STDERR)
    except OSError:  # Nobody reads it: it is closed.
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(nowhere)
        os.close(kept)
