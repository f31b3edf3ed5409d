"""Starts real workers: processes of their own on the loopback, with a time limit and a clean end."""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tfopt.distribute._addresses import free_ports

GRACE = 5  # seconds that the others get to end by themselves, once one worker has failed
SHOWN = 4000  # characters of each worker's output that a failure shows


class Cluster:
    """Some processes that run one script, each in a process group and with a TF_CONFIG of its own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.processes = []

    def start(self, script, *arguments, count, ports=None, indices=None):
        """Start `count` workers, or of them those in `indices` only."""
        addresses = [f"127.0.0.1:{port}" for port in ports or free_ports(count)]
        for index in range(count) if indices is None else indices:
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            self.launch(script, *arguments, TF_CONFIG=json.dumps(task))
        return self

    def launch(self, script, *arguments, **environment):
        """Start one process."""
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment}
        with open(self._output(len(self.processes)), "wb") as output:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, str(script), *map(str, arguments)],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )

    def wait(self, seconds):
        """Wait until all have ended, and return their codes; one that fails, or time, ends all of them."""
        end = time.monotonic() + seconds
        while None in (codes := self._codes()) and time.monotonic() < end:
            if any(code not in (None, 0) for code in codes):
                end = min(end, time.monotonic() + GRACE)
            time.sleep(0.05)
        late = None in self._codes()
        self.stop()
        return [None if late and code == -signal.SIGKILL else code for code in self._codes()]

    def succeed(self, seconds):
        """Wait, and fail with what each worker printed unless all end well."""
        codes = self.wait(seconds)
        assert codes == [0] * len(codes), f"exit codes {codes}, None for late\n{self.shown()}"

    def stop(self):
        """Kill what still runs, and all that it started."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def output(self, index):
        """What a process has printed."""
        return self._output(index).read_text(errors="replace")

    def shown(self):
        """The end of what each has printed."""
        texts = [self.output(index)[-SHOWN:] for index in range(len(self.processes))]
        return "\n".join(f"--- worker {index}\n{text}" for index, text in enumerate(texts))

    def _codes(self):
        return [process.poll() for process in self.processes]

    def _output(self, index):
        return self.folder / f"output-{index}.txt"


@pytest.fixture
def cluster(tmp_path):
    """A cluster that is gone when the test ends."""
    made = Cluster(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def new_cluster():
    """new_cluster(folder): as many as wanted, all gone when the tests end."""
    with contextlib.ExitStack() as stack:

        def make(folder):
            made = Cluster(folder)
            stack.callback(made.stop)
            return made

        yield make


@pytest.fixture(scope="session")
def processes():
    """The module that runs this folder's scripts."""
    path = pathlib.Path(__file__).with_name("_processes.py")
    spec = importlib.util.spec_from_file_location("distributed_processes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
