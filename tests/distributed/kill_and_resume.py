"""Trains in child processes that are killed at random moments, and compares with training left alone.

Children are forked from one process that has imported TensorFlow and run nothing of it.
Run ``python kill_and_resume.py FOLDER REPLICAS STORIES KILLS SEED``; prints one JSON list. Every story has
another rule, until they begin again.
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
import tensorflow as tf

import tfopt

EPOCHS, BATCHES, SAVE_FREQ = 4, 12, 3
PAUSE = 0.01  # seconds after each batch
RULES = {
    "Adam": lambda: tfopt.Adam(0.02),
    "PolyakAverage": lambda: tfopt.PolyakAverage(tfopt.Nesterov(0.05), start_step=5),
    "AdaGrad": lambda: tfopt.AdaGrad(0.05, gradient_accumulation_steps=2),
    "RMSProp": lambda: tfopt.RMSProp(0.01, momentum=0.5, nesterov=True, centered=True),
    "AdaDelta": lambda: tfopt.AdaDelta(window=10),
    "AMSGrad": lambda: tfopt.AMSGrad(0.02, variant="recursive", use_ema=True, ema_overwrite_frequency=5),
    "NAdam": lambda: tfopt.NAdam(0.02, form="lookahead"),
    "DeltaBarDelta": lambda: tfopt.DeltaBarDelta(0.05),
    "AdamThenSGD": lambda: tfopt.AdamThenSGD(0.02),
    "LBFGS": lambda: tfopt.LBFGS(history=3),
    "BlockCoordinateDescent": lambda: tfopt.BlockCoordinateDescent(
        tfopt.Momentum(0.1), blocks="layer", order="random", steps_per_block=2, seed=1
    ),
    "GaussianSmoothing": lambda: tfopt.GaussianSmoothing(tfopt.SGD(0.1), 0.05, seed=1),
}


class Slowly(keras.callbacks.Callback):
    """Says that training has begun and each batch has ended, and leaves time to be killed in."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe

    def on_train_begin(self, logs=None):
        os.write(self.pipe, b"x")

    def on_train_batch_end(self, batch, logs=None):
        os.write(self.pipe, b"x")
        time.sleep(PAUSE)


def train(folder, pipe, replicas, rule, result):
    """One run, from the last backup in `folder` if there is one; weights and all state go to `result`."""
    random_numbers = np.random.default_rng(0)
    x = random_numbers.normal(size=(BATCHES * 8, 6)).astype("float32")
    y = (x[:, :1] * x[:, 1:2] > 0).astype("float32")
    keras.utils.set_random_seed(5)
    strategy = tf.distribute.get_strategy()
    if replicas > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
        devices = [f"CPU:{number}" for number in range(replicas)]
        strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dropout(0.2)]
        model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(1, "sigmoid")])
        optimizer = RULES[rule]()
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    backup = tfopt.callbacks.BackupAndRestore(folder, save_freq=SAVE_FREQ)
    model.fit(x, y, batch_size=8, epochs=EPOCHS, verbose=0, callbacks=[backup, Slowly(pipe)])
    state = [np.asarray(tf.convert_to_tensor(v)) for v in (*model.variables, *optimizer.variables)]
    np.savez(result, *state)


def child(folder, *how):
    """Fork; returns the child's number, once it trains, and the end of its pipe."""
    reader, writer = os.pipe()
    number = os.fork()
    if number == 0:
        code = 1
        try:
            os.close(reader)
            train(folder, writer, *how)
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    os.close(writer)
    if not os.read(reader, 1):
        raise RuntimeError("a child ended before it trained")
    return number, reader


def ends_well(number):
    """Wait for a child; whether it ended by itself."""
    _, status = os.waitpid(number, 0)
    if status not in (0, signal.SIGKILL):
        raise RuntimeError(f"a child failed with status {status}")
    return status == 0


def story(folder, moments, *how):
    """A run that is killed at `moments`: so many batches after it began, and seconds after that."""
    folder.mkdir()
    result = folder / "state.npz"
    kills = 0
    for moment in (*moments, None):
        number, reader = child(folder / "backups", *how, result)
        if moment is not None:
            batches, seconds = moment
            while batches > 0 and (ended := os.read(reader, batches)):
                batches -= len(ended)
            time.sleep(seconds)
            os.kill(number, signal.SIGKILL)
        ended_by_itself = ends_well(number)
        os.close(reader)
        if ended_by_itself:
            break
        kills += 1
    return {"kills": kills, "backups": (folder / "backups").exists()}, dict(np.load(result))


def main(folder, replicas, stories, kills, seed):
    """Run the stories; a first kill comes while enough is left to do that it cannot come too late."""
    chance, report, references = random.Random(seed), [], {}
    for index in range(stories):
        rule = list(RULES)[index % len(RULES)]
        if rule not in references:
            _, references[rule] = story(folder / f"alone_{rule}", [], replicas, rule)
        moments = [
            (chance.randint(0, EPOCHS * BATCHES * 3 // 4), chance.uniform(0.0, 2 * PAUSE))
            for _ in range(kills)
        ]
        told, found = story(folder / f"story_{index}", moments, replicas, rule)
        same = [np.array_equal(found.get(name), value) for name, value in references[rule].items()]
        equal = all(same) and len(found) == len(references[rule])
        report.append(told | {"rule": rule, "equal": equal, "moments": moments})
    print(json.dumps(report))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:]))
