"""Stages of a continuation that begin at given epochs."""

import keras

from tfopt.losses._progress import Starts


@keras.saving.register_keras_serializable(package="tfopt")
class ByEpoch(Starts):
    """The schedule of a `tfopt.losses.Continuation` whose stages begin at given epochs.

        stage i from epoch e_i on,    0 = e_0 < e_1 < … < e_n

    Epochs count from 0, as those of callbacks do and as `initial_epoch` says, so a run goes on where it was
    interrupted. A list in place of a schedule means this one.

    Args:
        starts: e_1 … e_n, one epoch for each stage after the first.

    Raises:
        ValueError: If `starts` is empty or does not rise from 1 on; in `Continuation`, if it is not one for
            each later stage; when `fit` begins, if e_n is not below its `epochs`. Either way the last
            objective would never be reached.

    Example:
        >>> import tfopt
        >>> easy_then_hard = tfopt.losses.Continuation(["mae", "mse"], tfopt.losses.ByEpoch([10]))
        >>> easy_then_hard.schedule.starts
        [10]

    Source: chapter section 8.5.
    """

    unit = "epochs"
