"""Batch against group normalisation as the batch shrinks, and four normalisations side by side.

A small residual network learns `mnist5k` with batches of 32, 16, 8, 4 and 2 samples, with batch and with
group normalisation, then with batch, layer, instance and group normalisation at 32, each from several seeds.
The step length is in proportion to the batch size, the number of epochs the same, as in the paper that the
experiment follows (Wu and He, Group Normalization, 2018, tables 1 and 2); the table shows the paper's errors,
of ResNet-50 on ImageNet, beside the ones measured here. They share the trend, not the task.

Run ``python examples/normalisation_batch_size.py``: prints two tables, writes a figure and a JSON file to
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

from tfopt import layers
from tfopt.compare.images import load_images

BATCH_SIZES = (32, 16, 8, 4, 2)
NORMS = {
    "BN": lambda: layers.BatchNormalization(momentum=0.9),  # the paper's
    "LN": lambda: layers.GroupNormalization(1),
    "IN": layers.InstanceNormalization,
    "GN": lambda: layers.GroupNormalization(8),
}
# Validation error in per cent of ResNet-50 on ImageNet, by the paper.
PAPER = {
    ("BN", 32): 23.6,
    ("BN", 16): 23.7,
    ("BN", 8): 24.8,
    ("BN", 4): 27.3,
    ("BN", 2): 34.7,
    ("GN", 32): 24.1,
    ("GN", 16): 24.2,
    ("GN", 8): 24.0,
    ("GN", 4): 24.2,
    ("GN", 2): 24.1,
    ("LN", 32): 25.3,
    ("IN", 32): 28.4,
}


def network(shape, classes, norm, width):
    """Three residual stages of one block each, every convolution normalised before its ReLU.

    Instance normalisation needs several positions in the last stage: small images are not halved at first.
    """

    def convolution(x, filters, size, strides):
        return keras.layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)

    def activated(x):
        return keras.layers.ReLU()(norm()(x))

    inputs = keras.Input(shape)
    x = convolution(keras.layers.Rescaling(1 / 255)(inputs), width, 3, 2 if shape[0] >= 16 else 1)
    for stage in range(3):
        filters, strides = width * 2**stage, 1 if stage == 0 else 2
        before = activated(x)
        y = activated(convolution(before, filters, 3, strides))
        y = convolution(y, filters, 3, 1)
        x = x if stage == 0 else convolution(before, filters, 1, strides)
        x = keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(activated(x))
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


def errors(images, norm, batch_size, seed, options):
    """Error in per cent on what the network was trained on and on the test set, and the seconds it took."""
    keras.utils.set_random_seed(seed)
    model = network(images.shape, images.classes, NORMS[norm], options.width)
    # The data may lie class by class.
    chosen = np.random.default_rng(0).permutation(len(images.train[0]))[: options.samples]
    x, y = (np.asarray(part)[chosen] for part in images.train)
    steps = options.epochs * -(-len(x) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(options.rate * batch_size / 32, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=options.jit)
    begin = time.perf_counter()
    model.fit(x, y, batch_size=batch_size, epochs=options.epochs, verbose=0)
    seconds = time.perf_counter() - begin
    train, test = (
        100.0 * (1.0 - model.evaluate(*part, batch_size=200, verbose=0)[1]) for part in ((x, y), images.test)
    )
    return {"train": train, "test": test, "seconds": seconds}


def runs_of(options):
    """(normalisation, batch size, seed) of every run."""
    pairs = [(norm, size) for size in options.batch_sizes for norm in ("BN", "GN")]
    pairs += [(norm, max(options.batch_sizes)) for norm in ("LN", "IN")]
    return [(norm, size, seed) for norm, size in pairs for seed in range(options.seeds)]


def summary(rows, norm, batch_size):
    """Mean and standard deviation over the seeds of the test error."""
    found = [row["test"] for row in rows if (row["norm"], row["batch_size"]) == (norm, batch_size)]
    return float(np.mean(found)), float(np.std(found))


def table_of(rows, pairs, title):
    """Errors of some (normalisation, batch size) here and in the paper."""
    table = Table(
        "Normalisation", "Batch size", "Test error, %", "ResNet-50 on ImageNet, paper, %", title=title
    )
    for norm, size in pairs:
        mean, deviation = summary(rows, norm, size)
        paper = PAPER.get((norm, size))
        table.add_row(
            norm, str(size), f"{mean:.1f} ± {deviation:.1f}", "" if paper is None else f"{paper:.1f}"
        )
    return table


def draw(rows, batch_sizes, path):
    """Error against batch size, and the normalisations side by side at the largest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for norm, marker in (("BN", "o"), ("GN", "s")):
        means, deviations = np.transpose([summary(rows, norm, size) for size in batch_sizes])
        left.errorbar(batch_sizes, means, deviations, marker=marker, capsize=3, label=norm)
    left.set_xscale("log", base=2)
    left.invert_xaxis()
    left.set_xticks(batch_sizes, map(str, batch_sizes))
    left.set(xlabel="batch size", ylabel="test error, %", title="As the batch shrinks")
    left.legend()
    means, deviations = np.transpose([summary(rows, norm, max(batch_sizes)) for norm in NORMS])
    right.bar(list(NORMS), means, yerr=deviations, capsize=3)
    right.set(ylabel="test error, %", title=f"At {max(batch_sizes)} samples")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist5k", help="mnist5k, digits or tfds:NAME")
    parser.add_argument("--samples", type=int, default=None, help="training samples (default: all)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate for batches of 32")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage, a multiple of 8")
    parser.add_argument("--jit", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("normalisation_batch_size"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    console, rows, images = Console(), [], load_images(options.data)
    with Progress(console=console) as progress:
        for norm, size, seed in progress.track(runs_of(options), description="Training"):
            found = errors(images, norm, size, seed, options)
            rows.append({"norm": norm, "batch_size": size, "seed": seed, **found})
    shrinking = [(norm, size) for norm in ("BN", "GN") for size in options.batch_sizes]
    console.print(table_of(rows, shrinking, "As the batch shrinks"))
    console.print(table_of(rows, [(norm, max(options.batch_sizes)) for norm in NORMS], "Side by side"))
    draw(rows, options.batch_sizes, options.output / "batch_size.png")
    (options.output / "batch_size.json").write_text(json.dumps(rows, indent=1) + "\n")
    console.print(f"The figure is {options.output / 'batch_size.png'}")


if __name__ == "__main__":
    main()
