"""Runs this folder's scripts as processes of their own."""

import json
import os
import pathlib
import subprocess
import sys

import tfopt

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = str(pathlib.Path(tfopt.__file__).resolve().parents[1])


def start(script, *arguments, **environment):
    """A process that runs a script of this folder with the tfopt under test."""
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": PACKAGE}
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env=os.environ | settings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process, timeout):
    """What a script printed, as JSON on its last line; ends it after `timeout` seconds."""
    try:
        out, problems = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, problems[-3000:]
    return json.loads(out.splitlines()[-1])


def result_of(script, *arguments, timeout=300):
    """What a script prints."""
    return outcome(start(script, *arguments), timeout)
