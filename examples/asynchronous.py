"""Asynchronous against synchronous training, with one of two workers slow, and one killed and replaced.

The same network on `mnist5k` is trained by Keras' `fit` in this process and by
`tfopt.distribute.AsynchronousTrainer` with two worker processes and a parameter server (chapter section 3.2).
From the second epoch on worker 1 is stopped for most of the time, so that its gradients come late; in a
second asynchronous run it is killed in the midst of training and started again. Both have `--factor` times
the epochs, to catch up in.

Run ``python examples/asynchronous.py``: prints a table, writes a figure and a JSON file to `--output`.
``--smoke`` trains for two epochs on few samples.
"""

import argparse
import json
import pathlib
import signal
import threading
import time

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import tfopt
from tfopt.compare.images import load_images

WAYS = ("synchronous", "asynchronous, one slow", "asynchronous, one killed")


def network(images, rate):
    """A small network of ReLU units, compiled, from the same initial weights each time."""
    keras.utils.set_random_seed(0)
    entry = [keras.Input(images.shape), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(images.classes)]
    model = keras.Sequential([*entry, *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tfopt.Adam(rate), loss, metrics=["accuracy"])
    return model


class Slow(keras.callbacks.Callback):
    """Lets worker 1 stand still for a share of the time, once the first epoch has brought it what it runs."""

    def __init__(self, local, share):
        super().__init__()
        self.local, self.share, self.ended = local, share, threading.Event()
        self.thread = threading.Thread(target=self.stop_and_go)

    def on_epoch_begin(self, epoch, logs=None):
        """Begin."""
        if epoch == 1:
            self.thread.start()

    def on_train_end(self, logs=None):
        """Let it go."""
        self.ended.set()
        self.thread.join()

    def stop_and_go(self):
        """Stop and go."""
        while not self.ended.is_set():
            self.local.signal("worker", 1, signal.SIGSTOP)
            self.ended.wait(0.2 * self.share)
            self.local.signal("worker", 1, signal.SIGCONT)
            self.ended.wait(0.2 * (1 - self.share))


class Replace(keras.callbacks.Callback):
    """Kills worker 1 when an epoch begins and starts it again, while the other goes on."""

    def __init__(self, local, epoch):
        super().__init__()
        self.local, self.when, self.thread = local, epoch, threading.Thread(target=self.replace)

    def on_epoch_begin(self, epoch, logs=None):
        """Begin."""
        if epoch == self.when:
            self.thread.start()

    def on_train_end(self, logs=None):
        """Wait until the worker is back."""
        self.thread.join()

    def replace(self):
        """Kill, wait, start."""
        self.local.kill("worker", 1)
        time.sleep(1.0)
        self.local.restart("worker", 1)


def train(way, images, options):
    """History of one way of training; epochs are what is compared, since each has equally many updates."""
    # Sorted by class as they are, every so many images stand for all.
    x, y = (part[:: options.every] for part in images.train)
    epochs = options.epochs if way == WAYS[0] else round(options.factor * options.epochs)
    data = dict(batch_size=options.batch_size, epochs=epochs, verbose=options.verbose)
    data |= dict(validation_data=images.test, validation_batch_size=500)
    begin = time.perf_counter()
    if way == WAYS[0]:
        history = network(images, options.rate).fit(x, y, **data).history
        return row_of(way, history, begin, {0: epochs * -(-len(y) // options.batch_size)})
    with tfopt.distribute.LocalCluster(workers=2, servers=1) as local:
        trainer = tfopt.distribute.AsynchronousTrainer(lambda: network(images, options.rate), local.cluster)
        fault = Slow(local, options.stopped) if way == WAYS[1] else Replace(local, options.epochs // 2)
        history = trainer.fit(x, y, callbacks=[fault], **data).history
        return row_of(way, history, begin, trainer.staleness)


def row_of(way, history, begin, staleness):
    """What is kept of a run."""
    return {
        "way": way,
        "seconds": time.perf_counter() - begin,
        "test": [float(value) for value in history["val_accuracy"]],
        "loss": [float(value) for value in history["loss"]],
        "staleness": {str(number): count for number, count in sorted(staleness.items())},
    }


def epochs_to(row, accuracy):
    """The first epoch, from 1, at whose end the test accuracy is reached; None if it never is."""
    reached = np.flatnonzero(np.array(row["test"]) >= accuracy)
    return int(reached[0]) + 1 if len(reached) else None


def table_of(rows, target):
    """Accuracies and the updates that they took."""
    table = Table(
        "Training", "Test accuracy, %", f"Epochs to {100 * target:.1f} %", "Mean staleness", "Seconds"
    )
    for row in rows:
        values = [(int(number), count) for number, count in row["staleness"].items()]
        mean = sum(number * count for number, count in values) / sum(count for _, count in values)
        numbers = (f"{100 * row['test'][-1]:.1f}", str(epochs_to(row, target)), f"{mean:.2f}")
        table.add_row(row["way"], *numbers, f"{row['seconds']:.0f}")
    return table


def draw(rows, path):
    """Test accuracy against the epoch, and how stale the gradients were."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row in rows:
        left.plot(range(1, len(row["test"]) + 1), [100 * value for value in row["test"]], label=row["way"])
    left.set(xlabel="epoch", ylabel="test accuracy, %")
    left.legend(fontsize="small")
    for place, row in enumerate(rows[1:]):
        numbers = np.array([int(number) for number in row["staleness"]])
        right.bar(numbers + 0.4 * place - 0.2, list(row["staleness"].values()), 0.4, color=f"C{place + 1}")
    right.set(xlabel="staleness: updates between read and write", ylabel="steps", yscale="log")
    figure.savefig(path, dpi=120)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist5k", help="mnist5k, digits or tfds:NAME")
    parser.add_argument("--every", type=int, default=1, help="train on every so many of the images")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--factor", type=float, default=1.5, help="epochs of an asynchronous run for each")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of Adam")
    parser.add_argument(
        "--stopped", type=float, default=0.8, help="share of the time that worker 1 stands still"
    )
    parser.add_argument(
        "--verbose", type=int, default=1, help="0 silent, 1 progress bars, 2 a line per epoch"
    )
    parser.add_argument("--smoke", action="store_true", help="a short run on few samples")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("asynchronous"))
    options = parser.parse_args(arguments)
    if options.smoke:
        options.every, options.epochs = 10, 2
    options.output.mkdir(parents=True, exist_ok=True)
    console, images = Console(), load_images(options.data)
    # The synchronous run first: connecting to a cluster takes a process' earlier variables away.
    rows = [train(way, images, options) for way in WAYS]
    console.print(table_of(rows, rows[0]["test"][-1] - 0.005))
    draw(rows, options.output / "asynchronous.png")
    (options.output / "asynchronous.json").write_text(json.dumps(rows, indent=1) + "\n")
    console.print(f"The figure is {options.output / 'asynchronous.png'}")


if __name__ == "__main__":
    main()
