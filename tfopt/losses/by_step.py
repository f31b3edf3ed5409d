"""Stages of a continuation that begin at given train steps."""

import keras

from tfopt.losses._progress import Starts


@keras.saving.register_keras_serializable(package="tfopt")
class ByStep(Starts):
    """The schedule of a `tfopt.losses.Continuation` whose stages begin at given train steps.

        stage i from train step k_i on,    0 = k_0 < k_1 < … < k_n

    Train steps are those of the optimizer since it was made, as learning-rate schedules count them (each
    batch of an accumulation is one), so they go on in a further `fit` and after a restored backup. With
    `steps_per_execution` above 1 a stage begins with the first execution at or after its step.

    Args:
        starts: k_1 … k_n, one train step for each stage after the first.

    Raises:
        ValueError: If `starts` is empty or does not rise from 1 on; in `Continuation`, if it is not one for
            each later stage; when `fit` begins, if k_n is not below the steps it will have taken (where the
            number of steps in an epoch is known). Either way the last objective would never be reached.

    Example:
        >>> import tfopt
        >>> easy_then_hard = tfopt.losses.Continuation(["mae", "mse"], tfopt.losses.ByStep([2000]))
        >>> easy_then_hard.schedule.starts
        [2000]

    Source: chapter section 8.5.
    """

    by_step = True
    unit = "train steps"
