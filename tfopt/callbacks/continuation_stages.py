"""ContinuationStages: moves the stages of `losses.Continuation` in `fit`."""

import warnings

import keras

from tfopt._check import require
from tfopt.callbacks._glue import train_steps
from tfopt.losses._progress import Progress
from tfopt.losses.continuation import Continuation
from tfopt.optimizers._glue import MachineOptimizer


class ContinuationStages(keras.callbacks.Callback):
    """Moves the stages of every `tfopt.losses.Continuation` in the model, and writes them to the logs.

    J⁽ⁱ⁾ with i by the loss's own schedule: at the start of an epoch (`ByEpoch`, `ByPlateau`) or of a train
    step (`ByStep`). The logs get `<name>_stage`, the number of the stage in force at the end of the epoch,
    from 0, for the progress bar, the history and `TensorBoard`; put the callback before those that read it.

    While the model is evaluated, and when `fit` has ended, the last objective is in force. Where the stage
    changes, an optimizer of tfopt's with a line search forgets the values of the function before
    (`optimizer.restart()`); others keep their state.

    A run restored by `BackupAndRestore`, or begun at an `initial_epoch`, goes on at the stage it had
    reached: the plateau seen so far is saved with the model's weights. Put this callback before
    `BackupAndRestore`, which saves what it finds.

    Raises:
        ValueError: When `fit` begins, if no loss of the model is a Continuation, or its schedule does not
            reach the last stage in this run. Nothing has been changed then.

    Warns:
        UserWarning: If `fit` ends before the last stage, stopped by another callback.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> loss = tfopt.losses.Continuation(["mae", "mse"], tfopt.losses.ByStep([3]))
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(tfopt.SGD(0.1), loss)
        >>> stages = tfopt.callbacks.ContinuationStages()
        >>> _ = model.fit(np.ones((8, 1)), np.ones(8), batch_size=4, epochs=3, verbose=0, callbacks=[stages])
        >>> model.history.history["continuation_stage"]
        [0, 1, 1]

    Source: chapter section 8.5.
    """

    def __init__(self):
        super().__init__()
        self._losses: list = []
        self._begun = False

    def on_train_begin(self, logs=None):
        """Find the losses."""
        found = [loss for loss in keras.tree.flatten(self.model.loss) if isinstance(loss, Continuation)]
        expected = "a tfopt.losses.Continuation among the losses"
        require(found, "ContinuationStages", "loss", self.model.loss, expected)
        self._losses = list({id(loss): loss for loss in found}.values())
        self._begun = False

    def on_epoch_begin(self, epoch, logs=None):
        """The stage of this epoch; before the first one, that the run reaches the last stage."""
        if not self._begun:
            self._begin(epoch)
        for loss in self._losses:
            self._move(loss, self._now(loss, epoch))

    def on_train_batch_begin(self, batch, logs=None):
        """The stage of this step."""
        for loss in self._losses:
            if loss.schedule.by_step:
                self._move(loss, self._now(loss, 0))

    def on_epoch_end(self, epoch, logs=None):
        """Write the stage to the logs, and let the schedule read them."""
        logs = {} if logs is None else logs
        for loss in self._losses:
            loss.schedule.observe(loss.progress, logs)
            logs[f"{loss.name}_stage"] = loss.progress.stage

    def on_test_begin(self, logs=None):
        """Evaluate the last objective."""
        for loss in self._losses:
            loss.settle()

    def on_test_end(self, logs=None):
        """Back to the stage of training."""
        for loss in self._losses:
            self._set(loss)

    def on_train_end(self, logs=None):
        """From now on the last objective."""
        for loss in self._losses:
            if loss.progress.stage < loss.last:
                warnings.warn(
                    f"ContinuationStages: fit was stopped in stage {loss.progress.stage} of "
                    f"{loss.name!r}, before the last one ({loss.last}), which has not been trained.",
                    stacklevel=2,
                )
            loss.settle()
        self._losses = []

    def _begin(self, epoch):
        lasts = {id(loss): self._last(loss, epoch) for loss in self._losses}
        for loss in self._losses:
            last = lasts[id(loss)]
            if last is not None:
                loss.schedule.require_run(loss.last + 1, self._now(loss, epoch), last)
        for loss in self._losses:
            if epoch == 0:
                loss.progress = Progress()
            self._set(loss)
        # A step traced before may hold the last objective alone.
        self.model.make_train_function(force=True)
        self._begun, self._lasts = True, lasts

    def _last(self, loss, epoch):
        """The epoch or step after the last of this run; None where it is not known."""
        epochs, steps = self.params["epochs"], self.params["steps"]
        if not loss.schedule.by_step:
            return epochs
        return None if steps is None else self._steps() + (epochs - epoch) * steps

    def _now(self, loss, epoch):
        return self._steps() if loss.schedule.by_step else epoch

    def _steps(self):
        return train_steps(self._optimizer())

    def _optimizer(self):
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)

    def _set(self, loss):
        """Put the loss into the stage that its progress says."""
        if loss.progress.stage == loss.last:
            loss.settle()
        else:
            loss.stage = loss.progress.stage

    def _move(self, loss, now):
        before = loss.progress.stage
        stage = loss.schedule.stage(loss.progress, now, loss.last + 1, self._lasts[id(loss)])
        if stage == before:
            return
        loss.progress = Progress(stage)
        self._set(loss)
        if loss.settled:
            # Another step, in which there is nothing left of the stages before.
            self.model.make_train_function(force=True)
        optimizer = self._optimizer()
        if isinstance(optimizer, MachineOptimizer):
            optimizer.restart()
