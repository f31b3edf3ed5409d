"""Stages of a continuation that end when the loss falls no more."""

import keras

from tfopt._check import require, require_choice, require_integer, require_not_negative
from tfopt.losses._progress import StageSchedule


@keras.saving.register_keras_serializable(package="tfopt")
class ByPlateau(StageSchedule):
    """The schedule of a `tfopt.losses.Continuation` that moves on when a stage makes no more progress.

    A stage ends after `patience` epochs without an improvement of the monitored value by more than
    `min_delta`, and at the latest when its share of the run is used up: of E epochs and n + 1 stages, stage i
    (from 0) ends before epoch ⌊(i + 1) E / (n + 1)⌋, so that the last objective is reached in any case. The
    best value so far is forgotten when a stage begins, since another objective has other values.

    Args:
        monitor: Name in the logs. "loss" is the value of the stage's own objective, "val_loss" that of the
            last.
        patience: Epochs without improvement, at least 1.
        min_delta: What counts as an improvement, at least 0.
        mode: "min" or "max".

    Raises:
        ValueError: If an argument lies outside its range; in `fit`, if it has fewer epochs than there are
            stages, or `monitor` is not in the logs.

    Example:
        >>> import tfopt
        >>> schedule = tfopt.losses.ByPlateau(monitor="val_loss", patience=3)
        >>> tfopt.losses.Continuation(["mae", "mse"], schedule).schedule.patience
        3

    Source: chapter section 8.5: the solution of each problem is where the next one starts.
    """

    def __init__(self, monitor="loss", patience=2, min_delta=0.0, mode="min"):
        require(isinstance(monitor, str), "ByPlateau", "monitor", monitor, "a name in the logs")
        require_integer("ByPlateau", 1, patience=patience)
        require_not_negative("ByPlateau", min_delta=min_delta)
        require_choice("ByPlateau", ("min", "max"), mode=mode)
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode

    def require_run(self, count, first, last):
        """An epoch for each stage."""
        expected = f"at least {count}, one for each stage; otherwise the last objective is never reached"
        require(last >= count, "fit", "epochs", last, expected)

    def stage(self, progress, now, count, last):
        """One further where patience is at its end, and no less than time asks for."""
        stage = progress.stage + (progress.wait >= self.patience)
        overdue = sum(now >= (i + 1) * last // count for i in range(count))
        return min(max(stage, overdue), count - 1)

    def observe(self, progress, logs):
        """Count the epochs since the last improvement."""
        expected = f"one of {', '.join(sorted(logs))}"
        require(self.monitor in logs, "ByPlateau", "monitor", self.monitor, expected)
        value = float(logs[self.monitor])
        gain = progress.best - value if self.mode == "min" else value - progress.best
        if gain > self.min_delta or progress.best != progress.best:
            progress.best, progress.wait = value, 0
        else:
            progress.wait += 1

    def get_config(self):
        """Constructor arguments."""
        return {
            "monitor": self.monitor,
            "patience": self.patience,
            "min_delta": self.min_delta,
            "mode": self.mode,
        }

    @classmethod
    def from_config(cls, config):
        """The schedule that `get_config` described."""
        return cls(**config)
