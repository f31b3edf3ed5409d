"""Initial weights: the scale a deep network needs, and the symmetry it cannot break (chapter section 9).

Left: five tanh layers learn handwritten digits from `tfopt.initializers.FanInUniform` weights times a factor.
Far below the best factor the signal dies, far above it the units saturate. Right: one hidden layer, from
constant weights and from random ones. Units that begin alike stay alike:
`tfopt.symmetry.find_identical_units` counts them when training is over.

Run ``python examples/chapter/initialization.py``: writes ``initialization.png`` to `--output`.
"""

import _figure
import keras
import numpy as np

import tfopt
from tfopt.compare.images import load_images

UNITS = 16


def network(images, depth, initializer, rate):
    """Compiled tanh network."""
    entry = [keras.Input(images.shape), keras.layers.Rescaling(1 / 16), keras.layers.Flatten()]
    widths = [UNITS] * depth + [images.classes]
    layers = [keras.layers.Dense(width, "tanh", kernel_initializer=initializer) for width in widths[:-1]]
    last = keras.layers.Dense(widths[-1], kernel_initializer=initializer)
    model = keras.Sequential([*entry, *layers, last])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tfopt.SGD(rate), loss, jit_compile=False)
    return model


def losses_of(model, images, epochs):
    """Training loss of every epoch."""
    return np.array(model.fit(*images.train, batch_size=32, epochs=epochs, verbose=0).history["loss"])


def by_scale(images, factors, seeds, epochs):
    """Last training loss for every factor (row) and seed (column)."""
    draw = keras.random.SeedGenerator(0)
    model = network(images, 5, tfopt.initializers.FanInUniform(seed=draw), rate=0.05)
    rows = np.empty((len(factors), seeds))
    for seed in range(seeds):
        kernels = [layer.kernel_initializer(layer.kernel.shape) for layer in model.layers[2:]]
        for row, factor in enumerate(factors):
            for layer, kernel in zip(model.layers[2:], kernels, strict=True):
                layer.kernel.assign(factor * kernel)
                layer.bias.assign(keras.ops.zeros_like(layer.bias))
            rows[row, seed] = losses_of(model, images, epochs)[-1]
    return rows


def by_symmetry(images, epochs):
    """Training loss of every epoch and the number of different hidden units at the end."""
    found = {}
    for name, initializer in (
        ("constant weights", keras.initializers.Constant(0.05)),
        ("random weights", tfopt.initializers.FanInUniform(seed=keras.random.SeedGenerator(1))),
    ):
        model = network(images, 1, initializer, rate=0.1)
        losses = losses_of(model, images, epochs)
        alike = sum(len(group.units) - 1 for group in tfopt.symmetry.find_identical_units(model).groups)
        found[name] = {"losses": losses, "different": UNITS - alike}
    return found


def measure(smoke):
    """Both experiments."""
    images = load_images("digits")
    factors = (0.1, 2.0, 30.0) if smoke else tuple(np.geomspace(0.1, 30.0, 11))
    seeds, epochs = (1, 3) if smoke else (3, 5)
    return {
        "factors": factors,
        "scale": by_scale(images, factors, seeds, epochs),
        "symmetry": by_symmetry(images, 5 if smoke else 15),
        "epochs": epochs,
    }


def draw(found):
    """Loss against the factor, and against the epoch from both kinds of weights."""
    figure, (left, right) = _figure.panels(2)
    for seed, losses in enumerate(found["scale"].T):
        left.semilogx(found["factors"], losses, label=f"seed {seed}", **_figure.look(seed, 8))
    left.axhline(np.log(10), color="0.5", linewidth=0.8)
    left.annotate("guessing", (found["factors"][0], np.log(10)), (0, 3), textcoords="offset points")
    for number, (name, row) in enumerate(found["symmetry"].items()):
        label = f"{name}: {row['different']} different of {UNITS} units"
        epochs = np.arange(1, len(row["losses"]) + 1)
        right.plot(epochs, row["losses"], label=label, **_figure.look(number, 8))
    title = f"Five tanh layers after {found['epochs']} epochs"
    left.set(xlabel="factor of the initial weights", ylabel="training loss", title=title)
    right.set(xlabel="epoch", ylabel="training loss", ylim=(0, 2.9), title="One hidden layer")
    left.legend(loc="lower left")
    right.legend(loc="upper right")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "initialization", measure, draw, arguments)


if __name__ == "__main__":
    main()
