"""A process that takes the steps it is told to: how memory is kept is settled once for a process."""

import multiprocessing

import tensorflow as tf

import tfopt
from benchmarks.train_step import _models

SECONDS_TO_END = 60


class Process:
    """Steps in a process of their own; a context manager, which ends it."""

    def __init__(self, size, keeps_memory):
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, size, keeps_memory), daemon=True)
        self.process.start()
        # Its end of the pipe is closed here, so that an answer of a process that died ends at once.
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.join(SECONDS_TO_END)
        self.process.kill()

    def step(self, name):
        """Do the step of that name once; raises EOFError if the process is gone."""
        self.connection.send(name)
        self.connection.recv()


def _serve(connection, size, keeps_memory):
    tf.get_logger().setLevel("ERROR")  # It warns of tracing anew, once for each step here.
    if keeps_memory:
        tfopt.kernels.keep_memory()
    steps = {}
    while True:
        try:
            name = connection.recv()
        except EOFError:
            return
        if name not in steps:
            steps[name] = _models.new_step(name, size)
        steps[name]()
        connection.send(name)
