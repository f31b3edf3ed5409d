"""A coordinator whose workers, server or own life end while it trains.

Run ``python asynchronous_faults.py CHECK [ARGUMENT ...]``; prints one JSON object.
"""

import json
import random
import sys
import threading
import time

import keras
import numpy as np
import tensorflow as tf

import tfopt
from tfopt.distribute import AsynchronousTrainer, LocalCluster

SAMPLES, BATCH = 1024, 16
# Every sample is one of these.
COUNTS = ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives")


def data():
    numbers = np.random.default_rng(3)
    x = numbers.normal(size=(SAMPLES, 8)).astype("float32")
    return x, (x @ np.arange(-3.0, 5.0)[:, None] > 0).astype("float32")


RULES = {
    "Adam": lambda: tfopt.Adam(0.05),
    "PolyakAverage": lambda: tfopt.PolyakAverage(tfopt.NAdam(0.05, form="lookahead"), start_step=5),
}


def model(rule="Adam"):
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, "sigmoid")])
    model.compile(RULES[rule](), "binary_crossentropy", metrics=["accuracy", *COUNTS])
    return model


class After(keras.callbacks.Callback):
    """Starts a thread after so many steps."""

    def __init__(self, steps, function):
        super().__init__()
        self.left, self.thread = steps, threading.Thread(target=function)

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.thread.start()


def endless():
    """Every worker's own pipeline."""
    return tf.data.Dataset.from_tensor_slices(data()).shuffle(SAMPLES).repeat().batch(BATCH)


def worker(source):
    """A worker is killed and started anew, while the other goes on; then both are killed for a while."""
    with LocalCluster(2, 1) as local:
        trainer = AsynchronousTrainer(model, local.cluster)

        def replace_one():
            local.kill("worker", 1)
            time.sleep(1.0)
            local.restart("worker", 1)

        def replace_both():
            events[0].thread.join()
            local.kill("worker", 0)
            local.kill("worker", 1)
            local.restart("worker", 0)
            local.restart("worker", 1)

        events = [After(20, replace_one), After(SAMPLES // BATCH + 20, replace_both)]
        options = dict(epochs=4, verbose=0, callbacks=events)
        if source == "function":
            history = trainer.fit(endless, steps_per_epoch=SAMPLES // BATCH, **options).history
        else:
            history = trainer.fit(*data(), batch_size=BATCH, **options).history
        for event in events:
            event.thread.join()
        return found(trainer, history, 4 * SAMPLES // BATCH)


def found(trainer, history, steps):
    """What is left of a run that should have made so many steps."""
    named = [name for name in history if name.lower().endswith(("positives", "negatives"))]
    return {
        "accuracy": trainer.evaluate(*data())["accuracy"],
        "samples": [sum(counts) for counts in zip(*(history[name] for name in named), strict=True)],
        "steps": sum(trainer.staleness.values()) - steps,
        "twice": trainer.updates - steps,
        "iterations": int(trainer.model.optimizer.iterations.numpy()) - trainer.updates,
    }


class UntilDone(keras.callbacks.Callback):
    """Trains as long as a thread runs, which may wait for the next step."""

    def __init__(self, thread, stepped):
        super().__init__()
        self.thread, self.stepped = thread, stepped

    def on_train_batch_end(self, batch, logs=None):
        self.stepped.set()

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = not self.thread.is_alive()


def often(kills, seed):
    """One of two workers, or both, killed at random moments and started again, so many times in one run."""
    chance, stepped = random.Random(int(seed)), threading.Event()

    def disturb():
        for _ in range(int(kills)):
            # Where starting takes long no kill would hit a worker at work.
            stepped.clear()
            stepped.wait(60)
            time.sleep(chance.uniform(0.0, 0.5))
            victims = chance.choice([[0], [1], [0, 1]])
            for victim in victims:
                local.kill("worker", victim)
            time.sleep(chance.uniform(0.0, 0.5))
            for victim in victims:
                local.restart("worker", victim)

    with LocalCluster(2, 1) as local:
        trainer = AsynchronousTrainer(model, local.cluster)
        begin = After(20, disturb)
        callbacks = [begin, UntilDone(begin.thread, stepped)]
        history = trainer.fit(*data(), batch_size=BATCH, epochs=10**6, verbose=0, callbacks=callbacks)
        begin.thread.join()
        epochs = len(history.epoch)
        return found(trainer, history.history, epochs * SAMPLES // BATCH) | {"epochs": epochs}


def left(_):
    """One of two workers is killed and does not come back; the other does the rest."""
    with LocalCluster(2, 1) as local:
        trainer = AsynchronousTrainer(model, local.cluster)
        event = After(20, lambda: local.kill("worker", 1))
        history = trainer.fit(*data(), batch_size=BATCH, epochs=3, verbose=0, callbacks=[event])
        event.thread.join()
        return {
            "epochs": history.epoch,
            "steps": sum(trainer.staleness.values()),
            "accuracy": history.history["accuracy"][-1],
        }


def lost(job):
    """The only worker, or the only server, is killed and does not come back."""
    with LocalCluster(1, 1) as local:
        trainer = AsynchronousTrainer(model, local.cluster, timeout=5.0)
        begin = time.monotonic()
        try:
            trainer.fit(
                *data(),
                batch_size=BATCH,
                epochs=100,
                verbose=0,
                callbacks=[After(20, lambda: local.kill(job, 0))],
            )
        except (ConnectionError, TimeoutError) as error:
            kind = "connection" if isinstance(error, ConnectionError) else "timeout"
            return {"kind": kind, "message": str(error), "seconds": time.monotonic() - begin}
    return {}


# Arguments of `fit` for 128 steps: arrays, and a pipeline that shuffles anew and goes on from epoch to epoch.
WAYS = {
    "arrays": lambda: dict(zip("xy", data(), strict=True), batch_size=BATCH, epochs=2),
    "shuffled": lambda: dict(
        x=tf.data.Dataset.from_tensor_slices(data()).shuffle(SAMPLES, seed=4).repeat().batch(BATCH),
        epochs=16,
        steps_per_epoch=8,
    ),
}


def coordinator(folder, cluster, rule, way):
    """One life of a coordinator that may be killed at any time; the servers are somebody else's."""
    trainer = AsynchronousTrainer(lambda: model(rule), json.loads(cluster))
    backup = tfopt.callbacks.BackupAndRestore(folder, save_freq=5, delete_checkpoint=False)

    def told(batch, logs):
        # Not of what an earlier life has trained on.
        if batch >= backup.resumed_batches:
            print(json.dumps({"batch": batch}), flush=True)

    say = keras.callbacks.LambdaCallback(on_train_batch_end=told)
    history = trainer.fit(**WAYS[way](), verbose=0, shuffle=False, callbacks=[backup, say])
    return {
        "epochs": history.epoch,
        "iterations": int(trainer.model.optimizer.iterations.numpy()),
        "updates": trainer.updates,
        "state": [
            np.asarray(v.value).tolist()
            for v in (*trainer.model.trainable_variables, *trainer.model.optimizer.variables)
        ],
    }


CHECKS = {"worker": worker, "often": often, "left": left, "lost": lost, "coordinator": coordinator}

if __name__ == "__main__":
    print(json.dumps(CHECKS[sys.argv[1]](*sys.argv[2:])), flush=True)
