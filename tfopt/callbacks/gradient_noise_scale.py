"""GradientNoiseScale: how noisy the minibatch gradients are while training goes on."""

import math

import numpy as np

from tfopt._figure import panels
from tfopt.analysis._loss import loss_of
from tfopt.analysis.gradient_noise_scale import noise_of, require_batches, sixteenth
from tfopt.callbacks._probe import ProbeCallback


class GradientNoiseScale(ProbeCallback):
    """Measures every n steps the variance of the gradient over samples, and suggests a batch size.

    What is measured is `tfopt.analysis.gradient_noise_scale` of `x` and `y`, at the weights before the
    step; with G the mean gradient and Σ its covariance over samples::

        gradient_variance   tr Σ
        gradient_noise_scale  tr Σ/‖G‖²
        suggested_batch     the power of 2 next to it, at most the number of samples given

    These names stand in the logs at the end of each epoch; the noise scale of an epoch is the ratio of the
    means of tr Σ and ‖G‖², which single measurements scatter about. It grows as the gradient falls: that is
    when larger batches (`data.GrowingBatches`) pay. Put it before `TensorBoard` in the list of callbacks,
    which then writes the epochs' values, and each measurement as ``batch_…`` if its `update_freq` is not
    "epoch".

    Cost: one gradient of the data given per measurement; an epoch of s steps takes s/n measurements. Nothing
    of the model changes; under a strategy it runs on the first device.

    Args:
        x: Inputs, as for `tfopt.analysis.gradient_noise_scale`: at least two batches.
        y: Targets, where `x` is arrays.
        sample_weight: Weights of the samples, where `x` is arrays.
        every: n >= 1: measure at every n-th train step, from the first on; with `steps_per_execution`, at the
            beginning of the next execution.
        batch_size: Samples per batch of arrays; None makes 16 batches of them.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the measurement.

    Attributes:
        history: Every measurement, as a dictionary of arrays, with "step".
        findings: What the last measurement has to say.

    Raises:
        ValueError: If `every` is out of its range; at the start of `fit`, if the model has no loss, the data
            do not fit, or make one batch only.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(tfopt.SGD(0.01), "mse")
        >>> x = np.random.default_rng(0).normal(size=(64, 2))
        >>> noise = tfopt.callbacks.GradientNoiseScale(x, x[:, :1], every=4, batch_size=2)
        >>> log = model.fit(x, x[:, :1], batch_size=8, epochs=1, verbose=0, callbacks=[noise]).history
        >>> 0 < log["gradient_noise_scale"][0] < 64
        True

    Source: McCandlish, Kaplan, Amodei and others, An Empirical Model of Large-Batch Training, 2018; chapter
    sections 2.6 and 3.1.
    """

    def __init__(
        self,
        x,
        y=None,
        sample_weight=None,
        *,
        every=100,
        batch_size=None,
        training=False,
        jit_compile=False,
    ):
        options = dict(training=training, jit_compile=jit_compile)
        options["batch_size"] = sixteenth(x) if batch_size is None else batch_size
        super().__init__((x, y, sample_weight), every, options)

    def make_loss(self):
        """The loss, once its data are known to be enough."""
        loss = loss_of(type(self).__name__, self.model, self._data, **self._options)
        require_batches(loss)
        return loss

    def measure(self):
        """One measurement."""
        return noise_of(self._loss)

    def scalars(self, record):
        """Names and numbers of one measurement."""
        return {
            "gradient_variance": record.variance,
            "gradient_noise_scale": record.noise_scale,
            "suggested_batch": float(record.suggested_batch),
        }

    def combine(self, records):
        """Those of an epoch's mean variance and mean squared norm."""
        squared = float(np.mean([record.squared_norm for record in records]))
        variance = float(np.mean([record.variance for record in records]))
        scale = variance / squared if squared > 0 else math.inf
        mean = records[-1]._replace(squared_norm=squared, variance=variance, noise_scale=scale)
        return self.scalars(mean)

    def plot(self):
        """Draw the noise scale, with the batch it suggests, and the variance, against steps.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show and `savefig` writes.

        Raises:
            ValueError: If nothing was measured yet.
            ImportError: If matplotlib is not installed.
        """
        self.require_records("plot")
        seen = self.history
        left, right = panels("GradientNoiseScale", 2)
        scale = seen["gradient_noise_scale"]
        left.plot(seen["step"], np.where(np.isfinite(scale), scale, np.nan), "o-", label="noise scale")
        left.step(seen["step"], seen["suggested_batch"], "k--", where="post", label="suggested batch")
        left.set(yscale="log", xlabel="train step", ylabel="samples", title="Gradient noise scale")
        left.legend()
        right.plot(seen["step"], seen["gradient_variance"], "o-")
        right.set(yscale="log", xlabel="train step", ylabel="tr Σ", title="Variance of a sample's gradient")
        return left.figure
