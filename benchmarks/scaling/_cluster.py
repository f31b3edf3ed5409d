"""Some workers on this machine, each a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading

from tfopt.distribute._addresses import free_ports

TIMEOUT = 600  # seconds that a command may take
SHOWN = 3000


class Cluster:
    """A number of workers that do the same at the same time; a context manager, which ends them."""

    def __init__(self, count):
        self.problems = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - lives as long as the processes
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.processes = [self._start(addresses, index) for index in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._kill()
        for process in self.processes:
            process.communicate()
        self.problems.close()

    def call(self, *command):
        """Have all do a command; of each figure the largest, as they wait for the slowest.

        Raises:
            RuntimeError: If a worker ends, or is not done in time.
        """
        timer = threading.Timer(TIMEOUT, self._kill)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                for process in self.processes:
                    process.stdin.write(json.dumps(command) + "\n")
                    process.stdin.flush()
            answers = [self._answer(process) for process in self.processes]
        finally:
            timer.cancel()
        return {name: max(answer[name] for answer in answers) for name in answers[0]}

    def _answer(self, process):
        line = process.stdout.readline()
        if not line:
            self._kill()
            self.problems.seek(0)
            raise RuntimeError(f"A worker ended: {self.problems.read()[-SHOWN:]}")
        return json.loads(line)

    def _start(self, addresses, index):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        settings = {
            "TF_CONFIG": json.dumps(config),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            # The same packages as here, in the same order; -P keeps the current folder from coming first.
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.scaling._worker"],
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.problems,
            text=True,
        )

    def _kill(self):
        for process in self.processes:
            process.kill()
