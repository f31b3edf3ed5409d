"""Greedy supervised pretraining (chapter section 8.3).

Ten sigmoid layers, trained at once, stay at 20 %: hardly any gradient reaches the first of them. With
`tfopt.callbacks.GreedyPretraining` one layer after the other is added and trained, then all together; same
seeds, same number of epochs. ``examples/greedy_pretraining.py`` is the same experiment with all its knobs.

Run ``python examples/chapter/pretraining.py``: writes ``pretraining.png`` to `--output`.
"""

import _figure
import keras
import numpy as np

import tfopt
from tfopt.compare.images import load_images


def network(images, depth):
    """Sigmoid layers with Keras' own initial weights."""
    hidden = [keras.layers.Dense(100, "sigmoid") for _ in range(depth)]
    entry = [keras.Input(images.shape), keras.layers.Rescaling(1 / 16), keras.layers.Flatten()]
    return keras.Sequential([*entry, *hidden, keras.layers.Dense(images.classes)])


def train(images, seed, depth, per_stage, last, greedy):
    """Test accuracy, and the stage if there are any, of every epoch."""
    keras.utils.set_random_seed(seed)
    model = network(images, depth)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tfopt.Adam(1e-3), loss, metrics=["accuracy"], jit_compile=False)
    history = model.fit(
        *images.train,
        batch_size=20,
        epochs=per_stage * depth + last,
        validation_data=images.test,
        validation_batch_size=500,
        callbacks=[tfopt.callbacks.GreedyPretraining(per_stage)] if greedy else [],
        verbose=0,
    ).history
    return {"accuracy": 100 * np.array(history["val_accuracy"]), "stage": np.array(history.get("stage", []))}


def measure(smoke):
    """Runs of both ways, one for each seed."""
    images = load_images("digits")
    seeds, depth, per_stage, last = (1, 3, 1, 1) if smoke else (2, 10, 4, 10)
    return {
        name: [train(images, seed, depth, per_stage, last, greedy) for seed in range(seeds)]
        for name, greedy in (("all layers at once", False), ("greedy pretraining", True))
    }


def draw(found):
    """Test accuracy against the epoch, the stages marked."""
    figure, (axes,) = _figure.panels(1, width=6.5)
    for number, (name, runs) in zip((3, 0), found.items(), strict=True):
        for seed, run in enumerate(runs):
            epochs = np.arange(1, len(run["accuracy"]) + 1)
            label = f"{name}, {len(runs)} seeds" if seed == 0 else None
            axes.plot(epochs, run["accuracy"], label=label, **_figure.look(number, len(epochs)))
    for epoch in np.flatnonzero(np.diff(runs[0]["stage"])):
        axes.axvline(epoch + 1.5, color="0.6", linewidth=0.8, linestyle=":")
    axes.annotate("all layers", (epochs[-1], 2), ha="right")
    axes.set(xlabel="epoch", ylabel="test accuracy, %", ylim=(0, 112), title="Dotted: one more layer")
    axes.legend(loc="upper left", ncols=2)
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "pretraining", measure, draw, arguments)


if __name__ == "__main__":
    main()
