"""Measures a run as it goes."""

import math
import time

import keras

from tfopt.compare.run import Point


class Recorder(keras.callbacks.Callback):
    """Measures the model at even parts of the budget and ends the run when the budget is used up.

    The clock runs only from the start to the end of each train execution: tracing happened before, and
    measuring happens outside. It comes after `EvaluationWeights`, so that at the end of an epoch the model
    holds the weights that the optimizer stands for.

    Args:
        budget: `Budget` of the run.
        points: Number of measurements.
        measure: Function without arguments that returns (train loss, validation loss, accuracy).
        progress: Called with the share of the budget used.
    """

    def __init__(self, budget, points, measure, progress):
        super().__init__()
        self.budget = budget
        self.count = points
        self.measure = measure
        self.progress = progress
        self.points = []
        self.evaluations = 0
        self.seconds = 0.0
        self.diverged = False
        self._started = math.nan
        self._before = 0

    def on_train_batch_begin(self, batch, logs=None):
        """Start the clock."""
        self._before = self._iterations()
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Stop the clock; reading the loss waits until the execution is done on any device."""
        float(logs["loss"])
        self.seconds += time.perf_counter() - self._started
        self.evaluations += self._iterations() - self._before

    def on_epoch_end(self, epoch, logs=None):
        """Measure if the next part of the budget is used up."""
        used = self._used()
        if used >= (len(self.points) + 1) / self.count or used >= 1:
            self._add_point()
        self.progress(min(used, 1.0))
        if used >= 1 or self.diverged:
            self.model.stop_training = True

    def _used(self):
        if self.budget.evaluations is None:
            return self.seconds / self.budget.seconds
        return self.evaluations / self.budget.evaluations

    def _add_point(self):
        point = Point(self.evaluations, self.seconds, *self.measure())
        self.points.append(point)
        self.diverged = not (math.isfinite(point.train_loss) and math.isfinite(point.validation_loss))

    def _iterations(self):
        return int(self.model.optimizer.iterations.numpy())
