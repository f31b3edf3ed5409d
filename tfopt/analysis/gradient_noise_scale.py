"""gradient_noise_scale: how noisy minibatch gradients are, and the batch size that suits them."""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require
from tfopt.analysis._finding import Finding
from tfopt.analysis._loss import loss_of
from tfopt.curvature._batches import size_of


class GradientNoise(NamedTuple):
    """Mean and variance of the gradient over samples.

    Attributes:
        squared_norm: Unbiased estimate of ‖G‖², G the gradient over all data there could be. May be negative
            where the samples do not suffice to see G.
        variance: Unbiased estimate of tr Σ, the variance of one sample's gradient, summed over the weights.
        noise_scale: tr Σ/‖G‖², in samples; infinite where ‖G‖² is not above 0.
        samples: Number of samples measured.
    """

    squared_norm: float
    variance: float
    noise_scale: float
    samples: int

    @property
    def suggested_batch(self):
        """The power of 2 next to the noise scale, at most the number of samples measured."""
        scale = min(max(self.noise_scale, 1.0), float(self.samples))
        return int(min(2 ** round(math.log2(scale)), 2 ** math.floor(math.log2(self.samples))))

    def efficiency(self, batch):
        """Progress per sample with this batch size, as a share of what one sample at a time makes."""
        return 1.0 / (1.0 + batch / self.noise_scale) if self.noise_scale > 0 else 0.0

    def batch_variance(self, batch):
        """Variance of the mean gradient over a batch of this size: tr Σ/batch."""
        return self.variance / batch

    @property
    def findings(self):
        """Whether the samples show a gradient at all, as a list of `Finding`."""
        if self.noise_scale <= self.samples:
            return []
        return [
            Finding(
                name="gradient lost in noise",
                sentence=f"The noise scale is {self.noise_scale:.3g} samples, more than the "
                f"{self.samples} measured.",
                reason="Even all of them together hardly show where the loss falls: the direction of a "
                "batch's gradient is nearly random.",
                advice="Near the end of training that is as it should be. Else larger batches "
                "(`data.GrowingBatches`), `PolyakAverage`, or a falling learning rate.",
            )
        ]

    def findings_for(self, batch):
        """What there is to say about training with batches of this size, as a list of `Finding`."""
        if batch * 4 >= self.noise_scale:
            return []
        return [
            Finding(
                name="noisy gradient",
                sentence=f"The noise scale is {self.noise_scale:.3g} samples, a batch has {batch}.",
                reason="The gradient of such a batch is mostly noise, and only a small learning rate keeps "
                "the steps stable.",
                advice=f"A batch of about {self.suggested_batch}; momentum or `PolyakAverage`, which average "
                "over batches; a falling learning rate.",
            )
        ]


def gradient_noise_scale(
    model, x, y=None, sample_weight=None, *, batch_size=None, training=False, jit_compile=False
):
    """Variance of the gradient over samples, the noise scale, and a batch size.

    The gradient of a batch of B samples scatters about the true one, G, with covariance Σ/B. From K batches
    of n_k samples, N in all, with gradients g_k and mean ḡ = Σ n_k g_k/N::

        tr Σ  ≈ Σ n_k ‖g_k − ḡ‖² / (K − 1)
        ‖G‖² ≈ ‖ḡ‖² − tr Σ/N
        noise scale B* = tr Σ/‖G‖²

    both unbiased, also for batches of unequal size. A batch of B* needs twice the steps of a noiseless
    gradient and twice the samples of single-sample steps: below it larger batches save steps at little cost
    in samples, above it they are wasted. Near the end of training ‖G‖ falls and B* grows. The standard error
    of tr Σ is about √(2/(K − 1)) of it where few directions carry the noise, so take 10 batches or more;
    small ones, `batch_size=1` at best.

    Takes one gradient of each batch, together one gradient of the data.

    Args:
        model: A built and compiled Keras model.
        x: Its inputs: arrays, or a finite `tf.data.Dataset` or `keras.utils.PyDataset`, whose batches are
            then the batches measured.
        y: Targets, where `x` is arrays.
        sample_weight: Weights of the samples, where `x` is arrays.
        batch_size: Samples per batch of arrays; None makes 16 batches of them.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the gradient.

    Returns:
        A `GradientNoise`, with ``squared_norm``, ``variance``, ``noise_scale``, ``suggested_batch``,
        ``efficiency(batch)``, ``batch_variance(batch)``, ``findings`` and
        ``findings_for(batch)``.

    Raises:
        ValueError: If the model has no loss, an argument lies outside its range, or there is but one batch.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        >>> model.compile(loss=lambda y, z: z)  # the gradient of a sample is its x
        >>> x = np.array([[1.0], [3.0], [1.0], [3.0]])
        >>> noise = tfopt.analysis.gradient_noise_scale(model, x, x, batch_size=1)
        >>> round(noise.variance, 4), round(noise.squared_norm, 4)
        (1.3333, 3.6667)

    Source: McCandlish, Kaplan, Amodei and others, An Empirical Model of Large-Batch Training, 2018, section
    2.2 and appendix A.1; chapter sections 2.6 and 3.1.
    """
    owner = "gradient_noise_scale"
    require(isinstance(model, keras.Model), owner, "model", model, "a built and compiled keras.Model")
    options = dict(training=training, jit_compile=jit_compile)
    options["batch_size"] = sixteenth(x) if batch_size is None else batch_size
    return noise_of(loss_of(owner, model, (x, y, sample_weight), **options))


def sixteenth(x):
    """The batch size that makes 16 batches of arrays; None for a data set, which brings its own."""
    shape: tuple = getattr(tf.nest.flatten(x)[0], "shape", ())
    return max(1, shape[0] // 16) if len(shape) else None


def noise_of(loss):
    """The noise of a loss over its batches."""
    require_batches(loss)
    batches, samples, _ = loss.subject.data.totals
    gradients = _Scatter(loss.size)
    for _, part, batch in loss.by_batch():
        size = size_of(batch[0])
        gradients.add(part * (samples / size), size)
    variance = gradients.scatter / (batches - 1)
    squared = float(gradients.mean @ gradients.mean) - variance / samples
    scale = variance / squared if squared > 0 else math.inf
    return GradientNoise(squared, variance, scale, samples)


def require_batches(loss):
    """Require more than one batch."""
    count, samples, _ = loss.subject.data.totals
    expected = "at least two batches, to see how their gradients differ"
    require(count > 1, loss.owner, "x", f"{samples} samples in {count} batch", expected)


class _Scatter:
    """Weighted mean of vectors and weighted sum of squared distances from it, in one pass."""

    def __init__(self, size):
        self.mean, self.scatter, self.weight = np.zeros(size), 0.0, 0.0

    def add(self, vector, weight):
        self.weight += weight
        away = vector - self.mean
        self.mean = self.mean + away * (weight / self.weight)
        self.scatter += weight * float(away @ (vector - self.mean))
