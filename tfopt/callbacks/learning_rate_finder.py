"""Search for the initial learning rate during the first steps of training."""

import math
import warnings

import keras
import numpy as np

from tfopt._check import is_number, require, require_fraction, require_integer, require_positive
from tfopt._figure import panels


def _averaged(values, smoothing):
    """Return the exponential average of `values`, corrected for its start."""
    average, averages = 0.0, []
    for count, value in enumerate(values, start=1):
        average = smoothing * average + (1 - smoothing) * value
        averages.append(average / (1 - smoothing**count))
    return np.array(averages)


def _smoothed(values, smoothing):
    """Return `values` averaged forwards and backwards, which leaves a minimum at its place."""
    return _averaged(_averaged(values, smoothing)[::-1], smoothing)[::-1]


def _copies(variables):
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class LearningRateFinder(keras.callbacks.Callback):
    """Raises the learning rate step by step through the first batches and chooses one from the losses seen.

        ε_i = ε_low (ε_high / ε_low)^(i / (N − 1)),   i = 0 … N − 1

    ε_low is `low`, ε_high is `high`, N is `steps`. Training stops after N points, or as soon as the loss
    diverges; then weights, optimizer state, learning rate, random seeds and moving statistics are what they
    were before, and the real training may begin. The choice follows the advice to watch the first rounds and
    take a rate above the one that does best there, yet not so high as to be unstable:

        choice = √(ε_s ε_m)

    ε_s is where the smoothed loss falls fastest per factor of ε (the best at that moment), ε_m > ε_s where it
    is lowest, beyond which it rises again (the onset of instability).

    Give it a `model.fit` of its own, with `epochs` large enough for N batches; the losses that call reports
    are those of single batches. With `steps_per_execution=s` one point is the mean of s steps. Optimizers
    whose learning rate is a schedule are refused. After an interruption (an exception in `fit`) call
    `restore()`.

    Args:
        low: First rate, > 0.
        high: Last rate, > `low`.
        steps: N, number of points, >= 10.
        smoothing: Weight of the past in the exponential average of the loss, in [0, 1); it runs forwards and
            backwards, so the minimum is not displaced.
        divergence: The run stops where the averaged loss exceeds its minimum by `divergence` times the larger
            of |first loss| and the fall since then, or where it is not finite.
        apply: Whether to leave `choice` as the optimizer's learning rate.

    Attributes:
        curve: (rates, losses) as NumPy arrays, the losses smoothed.
        losses: The losses of the points as they were measured.
        choice: The chosen learning rate.

    Raises:
        ValueError: If an argument is out of its range; at the start of `fit`, if the model is not built or
            the learning rate is a schedule; from `curve` and `choice`, if there is no run or the loss never
            fell.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> keras.utils.set_random_seed(0)
        >>> x = np.random.normal(size=(512, 4)).astype("float32")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(), loss="mse")
        >>> finder = tfopt.callbacks.LearningRateFinder(low=1e-4, high=10.0, steps=60, apply=True)
        >>> _ = model.fit(x, x @ [1.0, -2.0, 3.0, 0.0], epochs=4, verbose=0, callbacks=[finder])
        >>> 0.01 < finder.choice < 0.5, bool(model.optimizer.learning_rate == finder.choice)
        (True, True)

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.3.1, for the advice; Smith,
    Cyclical Learning Rates for Training Neural Networks (2017), section 3.3, for the range test.
    """

    def __init__(self, low=1e-6, high=10.0, steps=100, smoothing=0.8, divergence=1.0, apply=False):
        super().__init__()
        require_positive("LearningRateFinder", low=low, high=high, divergence=divergence)
        require(is_number(high) and high > low, "LearningRateFinder", "high", high, f"high > low ({low})")
        require_integer("LearningRateFinder", 10, steps=steps)
        require_fraction("LearningRateFinder", smoothing=smoothing)
        self.low = low
        self.high = high
        self.steps = steps
        self.smoothing = smoothing
        self.divergence = divergence
        self.apply = apply
        self.losses = []
        self._start: tuple = ()

    def _rates(self, count):
        return np.geomspace(self.low, self.high, self.steps)[:count]

    def _set_rate(self, rate):
        try:
            self.model.optimizer.learning_rate = rate
        except (TypeError, AttributeError):
            raise ValueError(
                "LearningRateFinder: expected an optimizer with a constant learning rate; "
                f"{type(self.model.optimizer).__name__} takes its own from a schedule. "
                "Search with a constant, then build the schedule on the rate found."
            ) from None

    def _require_built(self):
        if not self.model.built:
            raise ValueError(
                "LearningRateFinder: expected a built model, whose first weights can be put back. "
                "Start it with keras.Input(shape) or call model.build(shape)."
            )
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)

    def on_train_begin(self, logs=None):
        """Remember the state to come back to."""
        self._require_built()
        self._start = _copies(self.model.variables), _copies(self.model.optimizer.variables)
        self._set_rate(self.low)
        self.losses = []

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rate of the next point, and let the reported loss be that of this point alone."""
        self._set_rate(self._rates(self.steps)[min(len(self.losses), self.steps - 1)])
        for metric in self.model.metrics:
            if metric.name == "loss":
                metric.reset_state()

    def on_train_batch_end(self, batch, logs=None):
        """Record the loss and stop at the last point or at divergence."""
        self.losses.append(float((logs or {})["loss"]))
        if self._is_complete():
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """Put everything back."""
        self.restore()
        if not self._is_complete():
            warnings.warn(
                f"LearningRateFinder: the data ended after {len(self.losses)} of {self.steps} points, below "
                f"the rate {self.high}; call fit with more epochs.",
                stacklevel=2,
            )
        if self.apply:
            self._set_rate(self.choice)

    def restore(self):
        """Put weights, optimizer state and learning rate back to what they were when `fit` began.

        `fit` does so by itself at its end; call this after a `fit` that an exception left.

        Raises:
            ValueError: If there was no `fit` with this callback yet.
        """
        self._require_run(self._start, "restore")
        weights, state = self._start
        _assign(self.model.variables, weights)
        _assign(self.model.optimizer.variables, state)

    def _require_run(self, there, what):
        if not there:
            raise ValueError(f"LearningRateFinder.{what}: expected a model.fit with this callback before.")

    def _scale(self, losses):
        return self.divergence * max(abs(losses[0]), losses[0] - min(losses))

    def _is_complete(self):
        return len(self.losses) >= self.steps or self._has_diverged()

    def _has_diverged(self):
        if not math.isfinite(self.losses[-1]):
            return True
        average = _averaged(self.losses, self.smoothing)
        return average[-1] - average.min() > self._scale(average)

    @property
    def curve(self):
        """Rates and smoothed losses, two arrays of equal length."""
        finite = [loss for loss in self.losses if math.isfinite(loss)]
        self._require_run(self.losses, "curve")
        if not finite:
            raise ValueError(
                f"LearningRateFinder.curve: expected a finite loss at the start, at {self.low:.3g}."
            )
        # A last loss of 1e30 would otherwise lift everything before it.
        ceiling = min(finite) + 2 * self._scale(finite)
        losses = _smoothed(np.minimum(finite, ceiling), self.smoothing)
        return self._rates(len(losses)), losses

    def _steepest_and_lowest(self):
        rates, losses = self.curve
        lowest = int(np.argmin(losses))
        if lowest < 2:
            raise ValueError(
                f"LearningRateFinder.choice: expected a loss that falls before it rises; it was lowest at "
                f"{rates[lowest]:.3g}, right at the start. Lower `low` ({self.low})."
            )
        slopes = np.gradient(losses, np.log(rates))
        return int(np.argmin(slopes[: lowest + 1])), lowest

    @property
    def choice(self):
        """Geometric mean of the rate of steepest fall and the rate of the lowest loss."""
        rates, _ = self.curve
        steepest, lowest = self._steepest_and_lowest()
        return float(math.sqrt(rates[steepest] * rates[lowest]))

    def plot(self):
        """Draw losses against rates, with the choice marked.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show and `savefig` writes.

        Raises:
            ValueError: If there is no run yet, or no choice.
            ImportError: If matplotlib is not installed.
        """
        rates, losses = self.curve
        (axes,) = panels("LearningRateFinder", 1, width=7, height=4)
        axes.set(xscale="log", xlabel="learning rate ε", ylabel="loss", title="Learning-rate search")
        axes.plot(rates, self.losses[: len(rates)], color="0.75", linewidth=1, label="loss of the batch")
        axes.plot(rates, losses, color="tab:blue", label="smoothed")
        for index, label in zip(self._steepest_and_lowest(), ("steepest fall", "lowest"), strict=True):
            axes.plot(rates[index], losses[index], "o", label=f"{label}, ε = {rates[index]:.2g}")
        axes.axvline(self.choice, color="tab:red", linestyle="--", label=f"choice, ε = {self.choice:.2g}")
        bottom, top = np.nanmin(self.losses), losses.max()
        axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.1 * (top - bottom))
        axes.legend()
        return axes.figure
