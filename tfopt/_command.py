"""Whether tfopt is being imported to run its command, where TensorFlow's own log lines are out of place."""

import os
import pathlib
import sys


def quieten_the_command():
    """Keep TensorFlow's log off the standard error of `tfopt` and `python -m tfopt`.

    TensorFlow decides at its import what it logs, and tfopt's package is imported, TensorFlow with it, before
    any module of the command runs. A program that imports tfopt keeps its own setting, and so does a user who
    sets TF_CPP_MIN_LOG_LEVEL.
    """
    if runs_the_command():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def runs_the_command():
    """Whether this process was started as `tfopt ...` or `python -m tfopt ...`."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    # While Python looks for the module that -m names, "-m" stands in its place.
    if program == "-m":
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "tfopt"
    return pathlib.Path(program).name == "tfopt"
