"""EvaluationWeights: validation and checkpoints see the weights the optimizer stands for."""

import keras

from tfopt._check import require
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._glue import MachineOptimizer


class EvaluationWeights(keras.callbacks.Callback):
    r"""During validation and checkpointing the model holds the iterate or the average, not the query point.

    Some optimizers keep in the model's variables, while training, a point other than the weights they stand
    for: θ + αv (`Nesterov`, `RMSProp(nesterov=True)`), θ + Δθ (`NAdam(form="lookahead")`), the iterate in
    place of the average (`PolyakAverage`, `use_ema`). This callback shows the weights meant from the end of
    an epoch's training to the start of the next epoch, and during any `evaluate` and `predict` in between,
    so `val_loss`, `EarlyStopping` and `ModelCheckpoint` are about them; then it puts the training point back.
    When `fit` starts again it also moves the variables from the weights shown to the training point, or, if
    other weights were set in between (`model.set_weights`, or `EarlyStopping(restore_best_weights=True)` when
    `fit` ended), goes on from those. With other optimizers of tfopt's it does nothing.

    Methods with a line search (`LBFGS` and others) hold a trial point, and the `loss` that `fit` reports is
    the mean over trial points. With this callback it is the loss of the iterate, in the progress bar, in the
    history and for the callbacks after this one.

    Put it first in the list, so that callbacks after it (`ModelCheckpoint`, `BackupAndRestore`) find the
    weights in place.

    Raises:
        ValueError: At the start of `fit`, if the optimizer is not one of tfopt's (bare, or in a
            `keras.optimizers.LossScaleOptimizer`).

    Example:
        >>> import keras, numpy as np, tfopt
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(tfopt.PolyakAverage(tfopt.SGD(0.01)), "mse")
        >>> x = np.linspace(-1, 1, 8)[:, None]
        >>> first = tfopt.callbacks.EvaluationWeights()
        >>> history = model.fit(x, 2 * x, epochs=2, verbose=0, validation_data=(x, 2 * x), callbacks=[first])
        >>> shown = model.evaluate(x, 2 * x, verbose=0)
        >>> bool(abs(shown - history.history["val_loss"][-1]) < 1e-6)
        True

    Source: chapter sections 4.2.3 (look-ahead) and 8.2 (averages).
    """

    def on_train_begin(self, logs=None):
        """Move from the weights shown to the training point."""
        self._training()

    def on_epoch_begin(self, epoch, logs=None):
        """Move from the weights shown to the training point."""
        self._training()

    def on_train_batch_end(self, batch, logs=None):
        """Report the loss of the iterate."""
        self._report(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Show the weights meant, until the next epoch."""
        self._optimizer().to_evaluation_weights()
        self._report(logs)

    def on_test_begin(self, logs=None):
        """Show the weights meant."""
        self._optimizer().to_evaluation_weights()

    def on_predict_begin(self, logs=None):
        """Show the weights meant."""
        self._optimizer().to_evaluation_weights()

    def _report(self, logs):
        optimizer = self._optimizer()
        if logs is None or "loss" not in logs or not isinstance(optimizer, DirectionOptimizer):
            return
        # Before the first batch, or the first pass over all of them, there is no iterate.
        if optimizer.state_value("evaluations"):
            logs["loss"] = float(optimizer.state_value("value"))

    def _training(self):
        self._optimizer().to_training_weights(self.model.trainable_variables)

    def _optimizer(self):
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        fits = isinstance(optimizer, MachineOptimizer)
        require(fits, "EvaluationWeights", "optimizer", optimizer, "an optimizer of tfopt's in the model")
        return optimizer
