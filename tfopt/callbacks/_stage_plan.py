"""When the stages of a pretraining end: after numbers of epochs, or when a stage gets no better."""

import copy

import keras
import numpy as np

from tfopt._check import require, require_integer

OWNER = "GreedyPretraining"


def require_plan(epochs_per_stage):
    """Require a number, a list of numbers or an EarlyStopping."""
    if isinstance(epochs_per_stage, keras.callbacks.EarlyStopping):
        return
    several = isinstance(epochs_per_stage, (list, tuple))
    require(
        not several or epochs_per_stage,
        OWNER,
        "epochs_per_stage",
        epochs_per_stage,
        "an integer, one for each stage in a list, or a keras.callbacks.EarlyStopping",
    )
    for epochs in epochs_per_stage if several else [epochs_per_stage]:
        require_integer(OWNER, 1, epochs_per_stage=epochs)


def plan_of(epochs_per_stage, stages, epochs, finetune):
    """The plan for `stages` stages within `epochs` epochs, followed by fine-tuning or not."""
    if isinstance(epochs_per_stage, keras.callbacks.EarlyStopping):
        return UntilStopped(epochs_per_stage, stages, epochs, finetune)
    return FixedEpochs(epochs_per_stage, stages, epochs, finetune)


class FixedEpochs:
    """So many epochs for each stage; the epoch alone says which stage it is."""

    def __init__(self, epochs_per_stage, stages, epochs, finetune):
        listed = isinstance(epochs_per_stage, (list, tuple))
        lengths = list(epochs_per_stage) if listed else [epochs_per_stage] * stages
        expected = f"one number for each of the {stages} stages"
        require(len(lengths) == stages, OWNER, "epochs_per_stage", epochs_per_stage, expected)
        needed = sum(lengths) + bool(finetune)
        tail = " and one or more for the fine-tuning" if finetune else ""
        expected = f"at least {needed}: {sum(lengths)} for the {stages} stages{tail}"
        require(epochs >= needed, "fit", "epochs", epochs, expected)
        self._ends = np.cumsum(lengths)

    def stage_at(self, epoch, stage, since):
        """The stage of an epoch; the number of stages means what comes after the last."""
        return int(np.sum(self._ends <= epoch))

    def begin(self, model, view):
        """A stage begins."""

    def observe(self, epoch, logs):
        """An epoch of a stage is over."""

    def close(self):
        """A stage is over."""

    def state(self):
        """What a resumed run has to know besides stage and epoch."""
        return {}

    def restore(self, state):
        """Undo `state`."""


class _Watched:
    """What an EarlyStopping takes for its model: the weights of a stage, and a flag of its own."""

    def __init__(self, model, view):
        self._model, self._view = model, view
        self.stop_training = False

    @property
    def metrics(self):
        return self._model.metrics

    def get_weights(self):
        return [np.array(weight.numpy()) for weight in self._view.weights]

    def set_weights(self, values):
        for weight, value in zip(self._view.weights, values, strict=True):
            weight.assign(value)


class UntilStopped:
    """Each stage until a copy of an EarlyStopping ends it, or its equal share of the epochs does."""

    def __init__(self, stopping, stages, epochs, finetune):
        parts = stages + bool(finetune)
        expected = f"at least {parts}, one for each stage" + (" and for the fine-tuning" if finetune else "")
        require(epochs >= parts, "fit", "epochs", epochs, expected)
        self._given, self._limit = stopping, epochs // parts

    def stage_at(self, epoch, stage, since):
        """The next stage where this one has been stopped or its share is used up."""
        over = self._watched.stop_training or epoch - since >= self._limit
        return stage + over

    def begin(self, model, view):
        """Watch the stage with a fresh copy."""
        self._stopping, self._watched = copy.copy(self._given), _Watched(model, view)
        self._stopping.set_model(self._watched)
        self._stopping.on_train_begin()

    def observe(self, epoch, logs):
        """Let the copy see the logs of the stage's epoch, counted from the stage's first."""
        self._stopping.on_epoch_end(epoch, logs)

    def close(self):
        """Restore the best weights, if they were asked for."""
        self._stopping.on_train_end()

    def state(self):
        """What the copy knows, as arrays."""
        own = self._stopping
        best = np.nan if own.best is None else float(own.best)
        numbers = [own.wait, best, own.best_epoch, own.stopped_epoch, self._watched.stop_training]
        weights = {f"best_{i:04d}": value for i, value in enumerate(own.best_weights or [])}
        return {"watched": np.array(numbers, np.float64), **weights}

    def restore(self, state):
        """Let the copy know it again."""
        own = self._stopping
        wait, best, best_epoch, stopped_epoch, stopped = state["watched"]
        own.wait, own.best_epoch, own.stopped_epoch = int(wait), int(best_epoch), int(stopped_epoch)
        own.best = None if np.isnan(best) else float(best)
        own.best_weights = [state[name] for name in sorted(state) if name.startswith("best_")] or None
        self._watched.stop_training = bool(stopped)
