"""Growing batches: SGD's start and full-batch descent's end in one run (chapter section 4.1.3).

Least squares with noisy targets, whose minimum is known. At a constant learning rate batches of 8 come down
fast and stop at the noise of their gradient; the full batch has no noise and moves once per epoch;
`tfopt.data.GrowingBatches` from 8 doubles the size after each epoch, and goes on falling. Every epoch costs
each of them the same.

Run ``python examples/chapter/growing_batches.py``: writes ``growing_batches.png`` to `--output`.
"""

import _figure
import keras
import numpy as np

import tfopt

FEATURES, SMALL, RATE = 20, 8, 0.05


def regression(samples):
    """Inputs, noisy targets, and the least mean of squares that a linear model leaves."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((samples, FEATURES))
    y = x @ draw.standard_normal((FEATURES, 1)) + draw.standard_normal((samples, 1))
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    return x, y, float(np.mean((x @ best - y) ** 2))


def train(data, schedule, epochs):
    """Excess error and number of updates after every epoch, the start first."""
    x, y, least = data
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((FEATURES, 1))])
    optimizer = tfopt.SGD(RATE)
    model.compile(optimizer, "mse", jit_compile=False)
    excess, updates = [], []

    def record(epoch=None, logs=None):
        (weights,) = model.get_weights()
        excess.append(float(np.mean((x @ weights - y) ** 2)) - least)
        updates.append(int(optimizer.iterations))

    record()
    batches = tfopt.data.GrowingBatches(x, y, schedule, seed=0)
    model.fit(
        batches, epochs=epochs, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=record)], verbose=0
    )
    return {"excess": np.array(excess), "updates": np.array(updates)}


def measure(smoke):
    """The three runs."""
    samples, epochs = (512, 8) if smoke else (1024, 11)
    data = regression(samples)
    growing = tfopt.data.GrowingBatches.geometric(SMALL, every=1)
    return {
        f"batches of {SMALL}": train(data, SMALL, epochs),
        "full batch": train(data, samples, epochs),
        "growing batches": train(data, growing, epochs),
    }


def draw(found):
    """Excess error against the epoch and against the update."""
    figure, (left, right) = _figure.panels(2)
    for number, (name, row) in zip((1, 2, 0), found.items(), strict=True):
        left.semilogy(row["excess"], label=name, **_figure.look(number, 8))
        right.loglog(1 + row["updates"], row["excess"], label=name, **_figure.look(number, 8))
    left.set(xlabel="epoch", ylabel="excess error J(θ) − J*", title="By gradients computed")
    right.set(xlabel="1 + updates", ylabel="excess error J(θ) − J*", title="By updates")
    left.legend()
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "growing_batches", measure, draw, arguments)


if __name__ == "__main__":
    main()
