"""Linear decay of the learning rate to a small, positive value."""

import keras
from keras import ops

from tfopt._check import is_number, require, require_positive

_FINAL_SHARE = 0.01


@keras.saving.register_keras_serializable(package="tfopt")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that falls on a straight line for τ steps and then stays put.

        ε_k = (1 − k/τ) ε₀ + (k/τ) ε_τ   for 0 ≤ k ≤ τ,
        ε_k = ε_τ                         for k ≥ τ

    k is the optimizer's step, ε₀ is `initial`, τ is `tau` and ε_τ is `final`. The rate never reaches zero:
    with ε = 0 a run that stands still does not say whether its gradient or only its learning rate has
    vanished. The line is evaluated in float64, so that it stays straight for τ up to 10⁹ and beyond, and
    handed out in `keras.config.floatx()`.

    Args:
        initial: ε₀ > 0, the rate of the first step.
        tau: τ > 0, the number of steps until `final` is reached.
        final: ε_τ with 0 < ε_τ ≤ ε₀; None means 1 % of `initial`.
        name: Name used for the operations of the schedule.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import tfopt
        >>> schedule = tfopt.schedules.LinearDecay(initial=1.0, tau=100, final=0.5)
        >>> [round(float(schedule(step)), 4) for step in (0, 50, 100, 10_000)]
        [1.0, 0.75, 0.5, 0.5]

    Differs from Keras: `PolynomialDecay` ends at 1e-4 whatever it started from, admits an end at zero and
    computes in float32, where neighbouring steps of a long run get the same rate.

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.3.1, equation 8.14.
    """

    def __init__(self, initial, tau, final=None, name="LinearDecay"):
        super().__init__()
        require_positive("LinearDecay", initial=initial, tau=tau)
        require(
            final is None or (is_number(final) and 0 < final <= initial),
            "LinearDecay",
            "final",
            final,
            f"None or 0 < final <= initial ({initial}); at rate zero one cannot tell whether the gradient "
            "or the learning rate has vanished",
        )
        self.initial = initial
        self.tau = tau
        self.final = final
        self.name = name

    def __call__(self, step):
        with keras.name_scope(self.name):
            final = _FINAL_SHARE * self.initial if self.final is None else self.final
            elapsed = ops.minimum(ops.cast(step, "float64") / self.tau, 1.0)
            rate = (1.0 - elapsed) * self.initial + elapsed * final
            return ops.cast(rate, keras.config.floatx())

    def get_config(self):
        return {"initial": self.initial, "tau": self.tau, "final": self.final, "name": self.name}
