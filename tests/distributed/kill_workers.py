"""Two workers of one training, of which one is killed at random moments; both start again and go on.

Children are forked from one process that has imported TensorFlow and run nothing of it.
Run ``python kill_workers.py FOLDER STORIES KILLS SEED``; prints one JSON object.
"""

import json
import os
import pathlib
import random
import signal
import sys
import time
import traceback

import keras
import numpy as np

import tfopt
from tfopt.callbacks import _backups
from tfopt.distribute._addresses import free_ports

EPOCHS, BATCHES, SAVE_FREQ = 3, 12, 3
PAUSE = 0.01  # seconds after each batch, and after each file of a backup
WITHIN = 60  # seconds in which a worker has to end when the other was killed
KINDS = ("worker", "chief", "chief while it saves")


class Slowly(keras.callbacks.Callback):
    """Says that a batch has ended, and leaves time to be killed in."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe

    def on_train_batch_end(self, batch, logs=None):
        os.write(self.pipe, b"x")
        time.sleep(PAUSE)


def save_slowly(pipe):
    """Let each file of a backup say that it is written, and leave time to be killed in."""
    sync = _backups._sync

    def slowly(path):
        os.write(pipe, b"s")
        time.sleep(PAUSE)
        sync(path)

    _backups._sync = slowly


def train(folder, index, ports, pipe):
    """One worker's run, from the last backup if there is one; its state goes to a file."""
    workers = [f"127.0.0.1:{port}" for port in ports]
    task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(task)
    strategy = tfopt.distribute.multi_worker_strategy(timeout=60)
    tfopt.repair_keras()
    save_slowly(pipe)
    random_numbers = np.random.default_rng(0)
    x = random_numbers.normal(size=(BATCHES * 8, 6)).astype("float32")
    y = (x[:, :1] * x[:, 1:2] > 0).astype("float32")
    keras.utils.set_random_seed(5)
    with strategy.scope():
        layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dropout(0.2)]
        model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(1, "sigmoid")])
        model.compile(tfopt.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    backup = tfopt.callbacks.BackupAndRestore(folder / "backups", save_freq=SAVE_FREQ)
    model.fit(x, y, batch_size=8, epochs=EPOCHS, verbose=0, callbacks=[backup, Slowly(pipe)])
    state = [np.asarray(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]
    np.savez(folder / f"worker_{index}.npz", *state)


def child(folder, index, ports):
    """Fork a worker; returns its number and the end of its pipe."""
    reader, writer = os.pipe()
    number = os.fork()
    if number == 0:
        os.close(reader)
        # The report alone goes to the parent's output.
        os.dup2(2, 1)
        try:
            train(folder, index, ports, writer)
        except Exception as error:
            (folder / f"error_{index}").write_text(f"{type(error).__name__}: {error}")
            traceback.print_exc()
            # As a script ends that does not catch it, with all that TensorFlow does at the end.
            sys.exit(1)
        sys.exit(0)
    os.close(writer)
    return number, reader


def code_within(number, seconds):
    """Exit code of a child, and seconds until it ended; it is killed after `seconds`, with None as code."""
    begin = time.monotonic()
    while True:
        ended, status = os.waitpid(number, os.WNOHANG)
        passed = time.monotonic() - begin
        if ended:
            return os.waitstatus_to_exitcode(status), passed
        if passed > seconds:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            return None, passed
        time.sleep(0.01)


def await_moment(reader, batches, saving):
    """Wait until a worker has ended so many batches, and then, if `saving`, until it writes a backup."""
    while batches >= 0 and (said := os.read(reader, 1)):
        batches -= said == b"x"
    while saving and (said := os.read(reader, 1)):
        saving = said != b"s"


def life(folder, moment):
    """Both workers, until one is killed at `moment` (kind, batches, seconds), or until both have ended."""
    ports = free_ports(2)
    workers = [child(folder, index, ports) for index in range(2)]
    told = {}
    if moment is None:
        told["codes"] = [code_within(number, 300)[0] for number, _ in workers]
    else:
        kind, batches, seconds = moment
        victim = int(kind == "worker")
        await_moment(workers[victim][1], batches, kind == KINDS[2])
        time.sleep(seconds)
        os.kill(workers[victim][0], signal.SIGKILL)
        code, passed = code_within(workers[1 - victim][0], WITHIN)
        os.waitpid(workers[victim][0], 0)
        error = folder / f"error_{1 - victim}"
        told |= {"moment": moment, "code": code, "seconds": passed}
        told["error"] = error.read_text().partition("\n")[0] if error.exists() else ""
        error.unlink(missing_ok=True)
    for _, reader in workers:
        os.close(reader)
    return told


def story(folder, moments):
    """Lives that are ended at `moments`, and one that is not; the state of both workers at the end."""
    folder.mkdir()
    lives = [life(folder, moment) for moment in (*moments, None)]
    states = [dict(np.load(folder / f"worker_{index}.npz")) for index in range(2)]
    return {"lives": lives, "backups": (folder / "backups").exists()}, states


def main(folder, stories, kills, seed):
    """Run the stories; a kill comes while enough is left to do that it cannot come too late."""
    chance, report = random.Random(seed), []
    _, reference = story(folder / "alone", [])
    for index in range(stories):
        moments = [
            (KINDS[(index + kill) % 3], chance.randint(0, (22, 6)[kill > 0]), chance.uniform(0.0, 3 * PAUSE))
            for kill in range(kills)
        ]
        told, found = story(folder / f"story_{index}", moments)
        same = [
            left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)
            for left, right in zip(found, reference, strict=True)
        ]
        report.append(told | {"equal": same})
        print(told["lives"], same, file=sys.stderr, flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:]))
