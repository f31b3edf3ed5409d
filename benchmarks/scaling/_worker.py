"""A worker: reads a command a line, a JSON list of a name and its arguments, and answers with a line of JSON.

It trains under the strategy of its TF_CONFIG; the workers of a cluster are sent the same commands.
"""

import json
import os
import pathlib
import sys
import time

import keras
import numpy as np
import tensorflow as tf

import tfopt
from benchmarks.scaling._cases import CASES, TINY

LOOPBACK = pathlib.Path("/proc/net/dev")
WARM = 3


def sent():
    """Bytes that the loopback has carried; 0 where the system does not tell."""
    lines = LOOPBACK.read_text(encoding="utf-8").splitlines() if LOOPBACK.exists() else []
    return sum(int(line.split()[9]) for line in lines if line.split()[0] == "lo:")


class Marks(keras.callbacks.Callback):
    """Time and bytes on the wire at the end of each step."""

    def on_train_begin(self, logs=None):
        """Begin anew."""
        self.marks = []

    def on_train_batch_end(self, batch, logs=None):
        """Note where things stand; the step's results are there."""
        self.marks.append((time.perf_counter(), sent()))

    def per_step(self):
        """Medians over the steps; the first one, whose start an epoch's does not tell, is left out."""
        seconds, sizes = np.median(np.diff(np.array(self.marks), axis=0), axis=0)
        return {"seconds": float(seconds), "sent": float(sizes)}


class Worker:
    """Models by case and batch, each ready to train from the same weights again and again."""

    def __init__(self):
        self.strategy = tfopt.distribute.multi_worker_strategy(timeout=120)
        self.prepared = {}
        tfopt.repair_keras()

    def train(self, name, batch, steps):
        """Take steps on a batch of all workers together; seconds and bytes of one."""
        if (name, batch) not in self.prepared:
            self.prepared[name, batch] = self._prepared((CASES | TINY)[name], batch)
        model, data, kept = self.prepared[name, batch]
        for variable, value in zip(_variables(model), kept, strict=True):
            variable.assign(value)
        marks = Marks()
        model.fit(data, steps_per_epoch=steps + 1, verbose=0, callbacks=[marks])
        return marks.per_step()

    def _prepared(self, case, batch):
        with self.strategy.scope():
            model = case.model()
        data = tf.data.Dataset.from_tensors(case.samples(batch)).repeat()
        model.fit(data, steps_per_epoch=WARM, verbose=0)
        return model, data, [variable.numpy() for variable in _variables(model)]

    def reduce(self, numbers, calls):
        """Sum so many float32 over the workers, so many times; seconds and bytes of one."""
        values = tf.ones([numbers])

        def once():
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)

        function = tf.function(lambda: self.strategy.run(once), autograph=False)
        marks = Marks()
        marks.on_train_begin()
        for call in range(WARM + calls):
            function()
            if call >= WARM - 1:
                marks.on_train_batch_end(call)
        return marks.per_step()


def _variables(model):
    return [*model.variables, *model.optimizer.variables]


def main():
    """Answer until the input ends."""
    # One core each: that is what a worker of its own machine is to this benchmark.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # Others print, too.
    worker = Worker()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(*arguments)), file=answers, flush=True)
    # TensorFlow waits for workers that have left already.
    os._exit(0)


if __name__ == "__main__":
    main()
