"""Continuation: a sequence of objectives of growing difficulty, on the same weights."""

import warnings

import keras
import tensorflow as tf

from tfopt._check import require, require_integer
from tfopt.losses._composed import deserialized, resolved, serialized
from tfopt.losses._progress import Progress, StageSchedule
from tfopt.losses.by_epoch import ByEpoch

OWNER = "Continuation"


@tf.custom_gradient
def _unattended(value):
    """`value`; whoever asks for its gradient is told that nothing moves the stages."""

    def gradient(upstream):
        warnings.warn(
            "Continuation: a gradient was taken while nothing moves the stages, so it is that of the last "
            "one. In fit, add tfopt.callbacks.ContinuationStages() to the callbacks; elsewhere, set "
            "`loss.stage`.",
            stacklevel=2,
        )
        return upstream

    return tf.identity(value), gradient


@keras.saving.register_keras_serializable(package="tfopt")
class Continuation(keras.losses.Loss):
    """Objectives J⁽⁰⁾, J⁽¹⁾, …, J⁽ⁿ⁾ of growing difficulty; the solution of one is where the next one starts.

        minimise J⁽⁰⁾(θ), then J⁽¹⁾(θ) from there, …, then J⁽ⁿ⁾(θ),    J⁽ⁿ⁾ the objective that is meant

    Each stage is a loss. Some families that grow into a loss J, to be mixed as one likes:

    * blend: ``[Blend(easy, J, w) for w in (0, 0.5)] + [J]``
    * temperature: ``[Temperature(J, t) for t in (8, 4, 2)] + [J]``
    * label smoothing: ``[LabelSmoothing(J, a) for a in (0.4, 0.2)] + [J]``
    * from easy samples to hard ones: ``[Curriculum(J, share) for share in (0.3, 0.6)] + [J]``

    `tfopt.callbacks.ContinuationStages` moves the stages in `fit` and writes the stage to the logs; in a loop
    of your own set `loss.stage`. All stages are in the traced step and one of them runs, so that a change
    costs nothing; for the last one the callback has the step traced anew, with J⁽ⁿ⁾ alone, so that it is the
    step of the plain loss bit for bit, and so it is whenever no fit is under way. `val_loss` and `evaluate`
    are always about J⁽ⁿ⁾, so that `EarlyStopping` and `ModelCheckpoint` compare like with like; give
    EarlyStopping `start_from_epoch`, or it may end the run before the last stage.

    Its partner in the space of weights is `tfopt.GaussianSmoothing`, which blurs J itself. A method with a
    line search (`LBFGS`) has to learn that its function has changed: the callback restarts it.

    Args:
        stages: The losses J⁽⁰⁾ … J⁽ⁿ⁾: losses, their names or functions, at least two.
        schedule: When to move on: `ByEpoch`, `ByStep` or `ByPlateau`; a list of integers means `ByEpoch`.
        name: Name of the loss. `<name>_stage` is the column in the logs.
        dtype: Of the result.

    Raises:
        ValueError: If there are fewer than two stages, one is no loss, or the schedule cannot lead to the
            last one.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> mse = keras.losses.MeanSquaredError()
        >>> loss = tfopt.losses.Continuation([tfopt.losses.Blend("mae", mse, 0.5), mse], schedule=[2])
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(tfopt.SGD(0.1), loss)
        >>> stages = tfopt.callbacks.ContinuationStages()
        >>> history = model.fit(np.ones((8, 1)), np.ones(8), epochs=4, verbose=0, callbacks=[stages])
        >>> history.history["continuation_stage"]
        [0, 0, 1, 1]

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.7.6; chapter section 8.5.
    """

    def __init__(self, stages, schedule, name="continuation", dtype=None):
        super().__init__(name=name, reduction=None, dtype=dtype)
        several = isinstance(stages, (list, tuple)) and len(stages) > 1
        require(several, OWNER, "stages", stages, "a list of at least two losses, from easy to hard")
        self._given = list(stages)
        self._stages = [resolved(OWNER, "stages", stage) for stage in stages]
        schedule = ByEpoch(schedule) if isinstance(schedule, (list, tuple)) else schedule
        expected = "ByEpoch, ByStep, ByPlateau, or a list of epochs"
        require(isinstance(schedule, StageSchedule), OWNER, "schedule", schedule, expected)
        schedule.require_count(len(stages))
        self.schedule = schedule
        self.progress = Progress()
        self._attended, self.settled = False, True
        with tf.init_scope():
            # int64, as Keras' own counters, which may lie on any device.
            self._stage = tf.Variable(self.last, trainable=False, dtype=tf.int64, name="stage")

    @property
    def last(self):
        """n, the number of the last stage."""
        return len(self._stages) - 1

    @property
    def stage(self):
        """The stage in force, from 0; set it in a loop of your own."""
        return int(self._stage.numpy())

    @stage.setter
    def stage(self, stage):
        require_integer(OWNER, 0, stage=stage)
        require(stage <= self.last, OWNER, "stage", stage, f"a stage of 0 … {self.last}")
        self._attended, self.settled = True, False
        self._stage.assign(stage)

    def settle(self):
        """Be the last loss and nothing else in all that is traced from now on."""
        self.stage = self.last
        self.settled = True

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The value of the stage in force."""
        if self.settled:
            value = self._value(self.last, y_true, y_pred, sample_weight)
            return value if self._attended else _unattended(value)
        stages = [
            lambda stage=stage: self._value(stage, y_true, y_pred, sample_weight)
            for stage in range(len(self._stages))
        ]
        return tf.switch_case(tf.cast(self._stage, tf.int32), stages)

    def _value(self, stage, y_true, y_pred, sample_weight):
        with keras.name_scope(self.name):
            return tf.cast(self._stages[stage](y_true, y_pred, sample_weight), self.dtype)

    def save_own_variables(self, store):
        """Save how far a run has come; Keras' weights files and models hold it."""
        store["progress"] = tf.constant(self.progress.as_numbers(), tf.float64).numpy()

    def load_own_variables(self, store):
        """Load how far a run has come; a fit that starts at a later epoch goes on from there."""
        if "progress" in store.keys():  # noqa: SIM118
            self.progress = Progress.from_numbers(store["progress"][()])

    def get_config(self):
        """Constructor arguments, complete."""
        return {
            "stages": [serialized(stage) for stage in self._given],
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "name": self.name,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config):
        """The loss that `get_config` described."""
        stages = [deserialized(stage) for stage in config["stages"]]
        return cls(**{**config, "stages": stages, "schedule": deserialized(config["schedule"])})
