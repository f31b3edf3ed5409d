"""Layer and batch normalisation inside a recurrent network that reads images row by row.

An LSTM reads the rows of `mnist5k` one after the other and names the digit. Layer normalisation fits a
recurrent cell: its statistics are those of one sample at one time step, the same in training and afterwards
(chapter section 10.2.1). Batch normalisation in its place shares one running mean and variance among all time
steps, although each has statistics of its own: as long as it sees batches it trains, and what it learned is
lost when it must use the running statistics, as for a single image.

Run ``python examples/recurrent_normalisation.py``: prints a table, writes a figure and a JSON file to
`--output`.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import tfopt
from tfopt.compare.images import load_images


class BatchNormLSTMCell(tfopt.layers.LayerNormLSTMCell):
    """The cell with batch normalisation where `LayerNormLSTMCell` has layer normalisation."""

    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.kernel_norm = tfopt.layers.BatchNormalization(momentum=0.9, center=False)
        self.recurrent_norm = tfopt.layers.BatchNormalization(momentum=0.9, center=False)
        self.state_norm = tfopt.layers.BatchNormalization(momentum=0.9)


CELLS = {
    "none": keras.layers.LSTMCell,
    "layer": tfopt.layers.LayerNormLSTMCell,
    "batch": BatchNormLSTMCell,
}


def network(images, cell, options):
    """A recurrent network over the rows of an image."""
    rows, columns = images.shape[:2]
    return keras.Sequential(
        [
            keras.Input(images.shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Reshape((rows, columns)),
            keras.layers.RNN(CELLS[cell](options.units), unroll=True),
            keras.layers.Dense(images.classes),
        ]
    )


def accuracy(model, x, y, training, batch_size=100):
    """Share of the images named rightly, with the statistics of training or of inference."""
    named = [
        keras.ops.argmax(model(x[k : k + batch_size], training=training), axis=-1)
        for k in range(0, len(x), batch_size)
    ]
    return float(np.mean(np.concatenate(named) == y))


def train(images, cell, seed, options):
    """Accuracies after training: in batches with their own statistics, and image by image."""
    keras.utils.set_random_seed(seed)
    model = network(images, cell, options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tfopt.Adam(options.rate), loss, metrics=["accuracy"], jit_compile=False)
    chosen = np.random.default_rng(0).permutation(len(images.train[0]))[: options.samples]
    x, y = (np.asarray(part)[chosen] for part in images.train)
    begin = time.perf_counter()
    history = model.fit(
        x,
        y,
        batch_size=50,
        epochs=options.epochs,
        validation_data=images.test,
        validation_batch_size=500,
        verbose=0,
    ).history
    seconds = time.perf_counter() - begin
    # The data may lie class by class, and a batch of one class has statistics of its own.
    mixed = np.random.default_rng(0).permutation(len(images.test[0]))
    shown = [np.asarray(part)[mixed] for part in images.test]
    held = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    in_batches = accuracy(model, *shown, training=True)
    for variable, value in held:
        variable.assign(value)
    return {
        "cell": cell,
        "seed": seed,
        "seconds": seconds,
        "in_batches": in_batches,
        "alone": accuracy(model, *shown, training=False),
        "train": [float(value) for value in history["accuracy"]],
        "test": [float(value) for value in history["val_accuracy"]],
    }


def mean(rows, cell, part):
    """Mean and standard deviation over the seeds of an accuracy, in per cent."""
    found = [100 * row[part] for row in rows if row["cell"] == cell]
    return float(np.mean(found)), float(np.std(found))


def table_of(rows):
    """Accuracies on the test set."""
    table = Table("Normalisation in the cell", "In batches of 100, their statistics, %", "Image by image, %")
    for cell in CELLS:
        columns = (mean(rows, cell, part) for part in ("in_batches", "alone"))
        table.add_row(cell, *(f"{value:.1f} ± {deviation:.1f}" for value, deviation in columns))
    return table


def draw(rows, path):
    """Accuracy on the training batches and image by image on the test set, against the epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"train": "Training batches", "test": "Test set, image by image"}
    looks = dict(zip(CELLS, (("0.55", "-", "D"), ("black", "-", "o"), ("#d55e00", "--", "s")), strict=True))
    for axes, (part, title) in zip(panels, titles.items(), strict=True):
        for cell, (color, line, marker) in looks.items():
            runs = np.array([row[part] for row in rows if row["cell"] == cell])
            epochs = np.arange(1, runs.shape[1] + 1)
            axes.plot(epochs, 100 * runs.mean(axis=0), line, color=color, marker=marker, label=cell)
        axes.set(xlabel="epoch", title=title, ylim=(0, 100))
    panels[0].set_ylabel("accuracy, %")
    panels[1].legend(title="in the cell", loc="lower right")
    figure.savefig(path, dpi=100)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist5k", help="mnist5k, digits or tfds:NAME")
    parser.add_argument("--samples", type=int, default=None, help="training samples (default: all)")
    parser.add_argument("--units", type=int, default=64, help="units of the cell")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate of Adam")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("recurrent_normalisation"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    console, images = Console(), load_images(options.data)
    runs = [(cell, seed) for cell in CELLS for seed in range(options.seeds)]
    with Progress(console=console) as progress:
        rows = [
            train(images, cell, seed, options) for cell, seed in progress.track(runs, description="Training")
        ]
    console.print(table_of(rows))
    draw(rows, options.output / "recurrent_normalisation.png")
    (options.output / "recurrent_normalisation.json").write_text(json.dumps(rows, indent=1) + "\n")
    console.print(f"The figure is {options.output / 'recurrent_normalisation.png'}")


if __name__ == "__main__":
    main()
