"""LocalCluster: workers and parameter servers as processes of this machine."""

import json
import os
import signal
import subprocess
import sys

from tfopt._check import require, require_integer, require_positive
from tfopt.distribute import _addresses


class LocalCluster:
    """Workers and parameter servers as real processes on this machine, reached over its loopback interface.

    To try asynchronous training, and to test it: what runs here runs with ``python -m tfopt serve`` on
    several machines. TensorFlow's servers listen on all interfaces of the machine, and ask nobody who they
    are. The processes end with the ``with`` block, or with this process however it ends.

    Args:
        workers: Number of workers, at least 1.
        servers: Number of parameter servers, at least 1.
        timeout: Seconds within which all have to answer.

    Attributes:
        cluster: The dict that `tfopt.distribute.connect` and `AsynchronousTrainer` take.

    Raises:
        ValueError: If an argument lies outside its range.
        TimeoutError: If a process does not come up.

    Example:
        >>> import tfopt
        >>> local = tfopt.distribute.LocalCluster(workers=2, servers=1)  # starts with its `with` block
        >>> [len(local.cluster[job]) for job in ("worker", "ps")]
        [2, 1]

    Source: chapter section 3.2.
    """

    def __init__(self, workers=2, servers=1, *, timeout=120.0):
        require_integer("LocalCluster", 1, workers=workers, servers=servers)
        require_positive("LocalCluster", timeout=timeout)
        self.timeout = timeout
        addresses = [f"127.0.0.1:{port}" for port in _addresses.free_ports(workers + servers)]
        self.cluster = {"worker": addresses[:workers], "ps": addresses[workers:]}
        self._processes: dict = {}

    def __enter__(self):
        for job, addresses in self.cluster.items():
            for index in range(len(addresses)):
                self._launch(job, index)
        try:
            self._wait_for(self.cluster)
        except TimeoutError:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """End all processes."""
        for process in self._processes.values():
            _end(process)
        self._processes.clear()

    def kill(self, job, index):
        """Kill a process as a machine's failure would, with SIGKILL, and wait until it is gone.

        Args:
            job: "worker" or "ps".
            index: Which of them, from 0.
        """
        _end(self._process(job, index))

    def restart(self, job, index):
        """Start a killed process again under its old address, and wait until it answers.

        Args:
            job: "worker" or "ps".
            index: Which of them, from 0.

        Raises:
            TimeoutError: If it does not come up.
        """
        _end(self._process(job, index))
        self._launch(job, index)
        self._wait_for({job: [self.cluster[job][index]]})

    def signal(self, job, index, number):
        """Send a signal; SIGSTOP and SIGCONT in turn make a process slow.

        Args:
            job: "worker" or "ps".
            index: Which of them, from 0.
            number: The signal, such as `signal.SIGSTOP`.
        """
        self._process(job, index).send_signal(number)

    def _process(self, job, index):
        known = (job, index) in self._processes
        require(known, "LocalCluster", "job, index", (job, index), f"one of {sorted(self._processes)}")
        return self._processes[job, index]

    def _launch(self, job, index):
        config = {"cluster": self.cluster, "task": {"type": job, "index": index}}
        self._processes[job, index] = subprocess.Popen(
            [sys.executable, "-m", "tfopt.distribute._child"],
            env={"TF_CPP_MIN_LOG_LEVEL": "3"}
            | os.environ
            | {"TF_CONFIG": json.dumps(config), "PYTHONPATH": os.pathsep.join(sys.path)},
            # Its end tells the child that this process is gone.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def _wait_for(self, cluster):
        missing = _addresses.silent(cluster, timeout=self.timeout)
        if missing:
            raise TimeoutError(
                f"LocalCluster: no answer within {self.timeout:g} s from {', '.join(missing)}."
            )


def _end(process):
    if process.poll() is None:
        # A stopped process takes no other signal.
        process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
