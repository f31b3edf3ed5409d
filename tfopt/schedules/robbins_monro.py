"""Power-law decay that satisfies the Robbins-Monro conditions."""

import keras
from keras import ops

from tfopt._check import is_number, require, require_positive


def _broken_condition(power):
    """Return which of the two sums `power` breaks and what follows, as the end of a sentence."""
    if power > 1:
        return "with power > 1 the sum of all rates is finite, so a minimum farther away is never reached"
    return (
        "with power <= 1/2 the sum of the squared rates is infinite, so the gradient noise never averages out"
    )


@keras.saving.register_keras_serializable(package="tfopt")
class RobbinsMonro(keras.optimizers.schedules.LearningRateSchedule):
    """Power-law learning rate under which stochastic gradient descent is sure to converge.

        ε_k = ε₀ / (1 + k/τ)^p

    k is the optimizer's step, ε₀ is `initial`, τ is `tau` and p is `power`. For 1/2 < p ≤ 1 the two
    conditions hold that are sufficient for convergence, Σ ε_k = ∞ (any distance can be covered) and Σ ε_k² <
    ∞ (the noise of the minibatch gradients averages out). p = 1 gives the O(1/k) excess error of strongly
    convex problems, provided that ε₀τ is at least about the inverse of the smallest curvature; smaller p
    forgives a poor ε₀. Evaluated in float64 for steps up to 10⁹ and beyond, handed out in
    `keras.config.floatx()`.

    Args:
        initial: ε₀ > 0, the rate of the first step.
        power: p in (1/2, 1].
        tau: τ > 0, the number of steps after which the rate has fallen to ε₀/2^p.
        name: Name used for the operations of the schedule.

    Raises:
        ValueError: If `power` breaks one of the two conditions (the message names it), or `initial` or `tau`
            is not positive.

    Example:
        >>> import tfopt
        >>> schedule = tfopt.schedules.RobbinsMonro(initial=1.0, power=1.0, tau=10)
        >>> [round(float(schedule(step)), 4) for step in (0, 10, 90)]
        [1.0, 0.5, 0.1]
        >>> tfopt.schedules.RobbinsMonro(initial=1.0, power=2.0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: RobbinsMonro(power=2.0): expected 1/2 < power <= 1; with power > 1 the sum of all ...

    Differs from Keras: `InverseTimeDecay` is the case p = 1 alone and computes in float32.

    Source: Robbins, Monro, A Stochastic Approximation Method (1951); Bottou, Curtis,
    Nocedal, Optimization Methods for Large-Scale Machine Learning (2018), section 4.2.
    """

    def __init__(self, initial, power=1.0, tau=1.0, name="RobbinsMonro"):
        super().__init__()
        require_positive("RobbinsMonro", initial=initial, tau=tau)
        require(is_number(power), "RobbinsMonro", "power", power, "a number with 1/2 < power <= 1")
        require(
            0.5 < power <= 1,
            "RobbinsMonro",
            "power",
            power,
            f"1/2 < power <= 1; {_broken_condition(power)}",
        )
        self.initial = initial
        self.power = power
        self.tau = tau
        self.name = name

    def __call__(self, step):
        with keras.name_scope(self.name):
            elapsed = ops.cast(step, "float64") / self.tau
            rate = self.initial / ops.power(1.0 + elapsed, self.power)
            return ops.cast(rate, keras.config.floatx())

    def get_config(self):
        return {"initial": self.initial, "power": self.power, "tau": self.tau, "name": self.name}
