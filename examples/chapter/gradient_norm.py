"""The gradient's norm grows while training succeeds (chapter section 2.1).

A network of eight tanh layers learns handwritten digits; `tfopt.callbacks.CurvatureMonitor` measures gᵀg and
gᵀHg on a part of the training data. The error falls, yet the gradient is several times what it was at the
start, and its curvature grows a thousandfold: no critical point is near, and curvature limits the steps.

Run ``python examples/chapter/gradient_norm.py``: writes ``gradient_norm.png`` to `--output`.
"""

import _figure
import keras
import numpy as np

import tfopt
from tfopt.compare.images import load_images

LAYERS = 8


def network(images):
    """Eight tanh layers with the initial weights that the chapter calls common."""
    hidden = [
        keras.layers.Dense(50, "tanh", kernel_initializer=tfopt.initializers.FanInUniform(seed=seed))
        for seed in range(LAYERS)
    ]
    entry = [keras.Input(images.shape), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    return keras.Sequential([*entry, *hidden, keras.layers.Dense(images.classes)])


def measure(smoke):
    """The measurements by step, the test error by epoch, and what the norm says."""
    images = load_images("digits" if smoke else "mnist5k")
    x, y = images.train
    model = network(images)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    epochs, batch_size, every, rate = (30, 32, 24, 0.02) if smoke else (10, 50, 8, 0.05)
    model.compile(tfopt.SGD(rate), loss, metrics=["accuracy"], jit_compile=False)
    monitor = tfopt.callbacks.CurvatureMonitor(x[:500], y[:500], every=every)
    history = model.fit(
        x,
        y,
        epochs=epochs,
        batch_size=batch_size,
        validation_data=images.test,
        validation_batch_size=500,
        callbacks=[monitor],
        verbose=0,
    ).history
    norms = np.sqrt(monitor.history["squared_gradient_norm"])
    return {
        "steps_per_epoch": -(-len(x) // batch_size),
        "error": 100 * (1 - np.array(history["val_accuracy"])),
        "norm": norms,
        "curvature": monitor.history["gradient_curvature"],
        "step": monitor.history["step"],
        "loss": monitor.history["loss"],
        "reading": tfopt.analysis.read_gradient_norm(norms),
    }


def draw(found):
    """Norm and curvature against the step, and the error against the epoch."""
    figure, (left, right) = _figure.panels(2)
    step, norm, curvature = found["step"], found["norm"], found["curvature"]
    left.semilogy(step, norm**2, label="gᵀg", **_figure.look(0, len(step)))
    left.semilogy(
        step, np.where(curvature > 0, curvature, np.nan), label="gᵀHg", **_figure.look(1, len(step))
    )
    epochs = np.arange(1, len(found["error"]) + 1)
    right.plot(epochs, found["error"], label="test error", **_figure.look(2, len(epochs)))
    left.set(xlabel="step", ylabel="on 500 training samples", title="The gradient and its curvature")
    right.set(xlabel="epoch", ylabel="test error, %", ylim=(0, None), title="Meanwhile it learns")
    left.legend(loc="lower right")
    return figure


def main(arguments=None):
    """The command line."""
    return _figure.command_line(__doc__, "gradient_norm", measure, draw, arguments)


if __name__ == "__main__":
    main()
