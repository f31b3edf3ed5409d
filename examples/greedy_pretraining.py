"""Greedy supervised pretraining of a deep sigmoid network against training all its layers at once.

A network of many sigmoid layers, as they were initialised before 2010, hardly gets a gradient to its first
layers and stays at chance. The same network, from the same seeds, trains when
`tfopt.callbacks.GreedyPretraining` adds one layer at a time (chapter section 8.3; Bengio et al., 2007), in as
many epochs, fine-tuning of all layers included.

Both ways have their limits: stages of two epochs instead of four hand on too little, and then neither way
learns; eight layers at twice the learning rate train jointly as well.

Run ``python examples/greedy_pretraining.py``: prints a table, writes a figure and a JSON file to `--output`.
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

WAYS = ("jointly", "greedily")


def network(shape, classes, options):
    """A sigmoid network with Keras' own initial weights, as every layer's default has them."""
    hidden = [
        keras.layers.Dense(options.width, "sigmoid", name=f"hidden_{number}")
        for number in range(1, options.depth + 1)
    ]
    entry = [keras.Input(shape), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    return keras.Sequential([*entry, *hidden, keras.layers.Dense(classes, name="head")])


def train(way, images, seed, options):
    """Accuracy on the test set after every epoch, and the stage of each."""
    keras.utils.set_random_seed(seed)
    model = network(images.shape, images.classes, options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tfopt.Adam(options.rate), loss, metrics=["accuracy"], jit_compile=options.jit)
    greedy = tfopt.callbacks.GreedyPretraining(options.epochs_per_stage)
    x, y = (part[: options.samples] for part in images.train)
    begin = time.perf_counter()
    history = model.fit(
        x,
        y,
        batch_size=options.batch_size,
        epochs=options.epochs_per_stage * options.depth + options.fine_tuning,
        validation_data=images.test,
        validation_batch_size=500,
        callbacks=[greedy] if way == "greedily" else [],
        verbose=0,
    ).history
    return {
        "way": way,
        "seed": seed,
        "seconds": time.perf_counter() - begin,
        "train": [float(value) for value in history["accuracy"]],
        "test": [float(value) for value in history["val_accuracy"]],
        "stage": history.get("stage", []),
    }


def table_of(rows):
    """Final accuracies of every run."""
    table = Table("Training", "Seed", "Train accuracy, %", "Test accuracy, %", "Seconds")
    for row in rows:
        numbers = (f"{100 * row[part][-1]:.1f}" for part in ("train", "test"))
        table.add_row(row["way"], str(row["seed"]), *numbers, f"{row['seconds']:.0f}")
    return table


def draw(rows, path):
    """Test accuracy against the epoch, the stages of pretraining marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="test accuracy, %", title="A deep network of sigmoids")
    for way, style in zip(WAYS, ("--", "-"), strict=True):
        for row in (row for row in rows if row["way"] == way):
            epochs = np.arange(1, len(row["test"]) + 1)
            label = way if row["seed"] == 0 else None
            shade = "0.55" if way == "jointly" else "tab:blue"
            axes.plot(epochs, 100 * np.array(row["test"]), style, color=shade, label=label)
    stages = next(row["stage"] for row in rows if row["stage"])
    for epoch in np.flatnonzero(np.diff(stages)):
        axes.axvline(epoch + 1.5, color="0.85", linewidth=1, zorder=0)
    axes.annotate("fine-tuning", (len(stages), 3), ha="right", fontsize="small")
    axes.set_ylim(0, 100)
    axes.legend()
    figure.savefig(path, dpi=120)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist5k", help="mnist5k, digits or tfds:NAME")
    parser.add_argument("--samples", type=int, default=None, help="training samples (default: all)")
    parser.add_argument("--depth", type=int, default=10, help="hidden layers")
    parser.add_argument("--width", type=int, default=100, help="units of each")
    parser.add_argument("--epochs-per-stage", type=int, default=4)
    parser.add_argument("--fine-tuning", type=int, default=10, help="epochs of all layers at the end")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of Adam")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--jit", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("greedy_pretraining"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    console, images = Console(), load_images(options.data)
    runs = [(way, seed) for way in WAYS for seed in range(options.seeds)]
    with Progress(console=console) as progress:
        rows = [
            train(way, images, seed, options) for way, seed in progress.track(runs, description="Training")
        ]
    console.print(table_of(rows))
    draw(rows, options.output / "accuracy.png")
    (options.output / "accuracy.json").write_text(json.dumps(rows, indent=1) + "\n")
    console.print(f"The figure is {options.output / 'accuracy.png'}")


if __name__ == "__main__":
    main()
