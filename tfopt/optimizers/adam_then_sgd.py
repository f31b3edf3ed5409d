"""AdamThenSGD: Adam for speed, then SGD for generalisation, with the switch found on the way."""

import functools

import keras
import tensorflow as tf

from tfopt._check import is_number, require, require_fraction, require_integer, require_positive
from tfopt.optimizers import _moments
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import Machine, Slot, scalars_by_weight
from tfopt.optimizers._moments import moments_for
from tfopt.optimizers._rule import bias_correction


class SwitchingMachine(Machine):
    """Two phases and the scalars that decide between them."""

    slots = (
        Slot("momentum"),
        Slot("velocity"),
        Slot("switched_at", scalar=True),  # update after which SGD took over; 0 while Adam runs
        Slot("mean_rate", scalar=True),  # λ, the running mean of γ
    )

    def __init__(self, beta_1, beta_2, epsilon, switch_step, sgd_learning_rate, momentum, tolerance):
        self.moments = moments_for(beta_1, beta_2)
        self.beta_2 = beta_2
        self.switch_step = switch_step
        self.sgd_learning_rate = sgd_learning_rate
        self.momentum = beta_1 if momentum is None else momentum
        self.tolerance = tolerance
        self.adam_scalars = functools.partial(
            _moments.scalars, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, epsilon_mode="outside"
        )

    def step(self, evaluation, iterate, state, context):
        """An Adam or an SGD step, by the phase."""
        branches = (
            lambda: self._adam(evaluation.gradients, iterate, state, context),
            lambda: self._sgd(evaluation.gradients, iterate, state, context),
        )
        return tf.cond(tf.equal(state["switched_at"], 0.0), *branches)

    def rate(self, state, t):
        """Λ: SGD's ε as it stands after update `t`."""
        if self.sgd_learning_rate is not None:
            return tf.constant(self.sgd_learning_rate, tf.float64)
        return state["mean_rate"] / bias_correction(self.beta_2, t)

    def switched_rate(self, value):
        """Λ as a number, from ``value(name)`` of the state's scalars."""
        mean = {"mean_rate": tf.constant(value("mean_rate"), tf.float64)}
        return float(self.rate(mean, tf.constant(value("switched_at"), tf.float64)))

    def report(self, value):
        """When SGD took over, and at which ε."""
        if not value("switched_at"):
            return "AdamThenSGD: Adam to the end, no switch to SGD."
        step, rate = int(value("switched_at")), self.switched_rate(value)
        return f"AdamThenSGD: switched to SGD after update {step}, learning rate {rate:.6g}."

    def _adam(self, gradients, iterate, state, context):
        scalars = scalars_by_weight(self.adam_scalars, context, iterate)
        moved, first, second, steps = [], [], [], []
        for g, p, m, v, s in zip(
            gradients, iterate, state["momentum"], state["velocity"], scalars, strict=True
        ):
            m, v = self.moments(g, m, v, s)
            steps.append(m / (tf.sqrt(v) + s.epsilon) * -s.rate)
            moved.append(p + steps[-1])
            first.append(m)
            second.append(v)
        decided = self._decide(gradients, steps, state, context.t)
        # SGD's velocity starts at rest, in the slot that held Adam's first moment.
        keep = tf.equal(decided["switched_at"], 0.0)
        first = [tf.where(keep, m, tf.zeros_like(m)) for m in first]
        return moved, {**decided, "momentum": first, "velocity": second}

    def _decide(self, gradients, steps, state, t):
        """λ and whether SGD takes over from here."""
        projected, squared = _dot(steps, gradients), _dot(steps, steps)
        gamma = tf.math.divide_no_nan(squared, -projected)
        moved = state["mean_rate"] + (gamma - state["mean_rate"]) * (1.0 - self.beta_2)
        mean = tf.where(tf.equal(projected, 0.0), state["mean_rate"], moved)
        estimate = mean / bias_correction(self.beta_2, t)
        if self.switch_step is None:
            ready = (t > 1) & (tf.abs(estimate - gamma) < self.tolerance) & tf.not_equal(projected, 0.0)
        else:
            ready = t >= self.switch_step
        if self.sgd_learning_rate is None:
            ready &= estimate > 0  # a rate below 0 would climb
        return {"switched_at": tf.where(ready, t, 0.0), "mean_rate": mean}

    def _sgd(self, gradients, iterate, state, context):
        rate = self.rate(state, state["switched_at"]) * (1.0 - self.momentum)
        first = [self.momentum * m + g for g, m in zip(gradients, state["momentum"], strict=True)]
        rows = zip(iterate, first, context.multipliers, strict=True)
        moved = [p - tf.cast(rate * factor, p.dtype) * m for p, m, factor in rows]
        return moved, tf.nest.map_structure(tf.identity, state | {"momentum": first})


def _dot(left, right):
    """The inner product over all variables, summed in float64."""
    return tf.add_n([tf.cast(tf.reduce_sum(a * b), tf.float64) for a, b in zip(left, right, strict=True)])


@keras.saving.register_keras_serializable(package="tfopt")
class AdamThenSGD(MachineOptimizer):
    """Adam at first, SGD later: SWATS finds the moment of the switch and SGD's ε by itself.

    While Adam runs, each step p_t = −ε ŝ / (√r̂ + δ), over all weights as one vector, is compared with the
    gradient g_t::

        γ_t = p_tᵀp_t / (−p_tᵀg_t)                  the ε at which an SGD step, projected on p_t, equals p_t
        λ_t = ρ₂ λ_{t−1} + (1 − ρ₂) γ_t             Λ_t = λ_t / (1 − ρ₂ᵗ)
        switch when t > 1 and |Λ_t − γ_t| < tolerance

    and from then on, with v = 0 at the switch, Λ fixed and α = `momentum`::

        v ← α v + g
        θ ← θ − (1 − α) Λ v

    ε is `learning_rate`, ρ₁ `beta_1`, ρ₂ `beta_2`, δ `epsilon`. `switch_at` fixes the moment, as a number of
    updates or as a fraction of `total_steps`; `sgd_learning_rate` fixes Λ. While Λ is not above 0 the switch
    waits. After it, schedules of `learning_rate` act on weight decay only. `switched_at` and
    `current_sgd_learning_rate` tell the state; the logger "tfopt" reports both at the end of `fit`. Slots are
    float32 for float16 and bfloat16 weights.

    Args:
        learning_rate: Adam's ε, a number, a schedule or a callable.
        beta_1: ρ₁ in [0, 1).
        beta_2: ρ₂ in [0, 1).
        epsilon: δ > 0.
        switch_at: None for SWATS' own test; an integer > 0, updates by Adam; or a fraction of the run in
            (0, 1).
        total_steps: Updates in the whole run; needed for a fraction.
        sgd_learning_rate: Λ > 0, or None for SWATS' estimate.
        momentum: α in [0, 1), or None for ρ₁.
        tolerance: How near γ must come to its mean, in the unit of ε.
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range, or a fraction comes without `total_steps`.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(1.0)
        >>> optimizer = tfopt.AdamThenSGD(0.1, switch_at=1, sgd_learning_rate=0.5, momentum=0.0)
        >>> for _ in range(2):  # Adam's step of 0.1, then SGD's of 0.5·0.2
        ...     optimizer.apply([keras.ops.convert_to_tensor(0.2)], [weight])
        >>> round(float(weight), 6), optimizer.switched_at
        (0.8, 1)

    Source: Keskar and Socher, Improving Generalization Performance by Switching from Adam to SGD, 2017,
    algorithm 1; chapter section 5.4.2.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        switch_at=None,
        total_steps=None,
        sgd_learning_rate=None,
        momentum=None,
        tolerance=1e-9,
        **options,
    ):
        require_fraction("AdamThenSGD", beta_1=beta_1, beta_2=beta_2)
        require_positive("AdamThenSGD", epsilon=epsilon, tolerance=tolerance)
        if momentum is not None:
            require_fraction("AdamThenSGD", momentum=momentum)
        if sgd_learning_rate is not None:
            require_positive("AdamThenSGD", sgd_learning_rate=sgd_learning_rate)
        _check_switch(switch_at, total_steps)
        hyper = dict(
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            switch_at=switch_at,
            total_steps=total_steps,
            sgd_learning_rate=sgd_learning_rate,
            momentum=momentum,
            tolerance=tolerance,
        )
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, *, switch_at, total_steps, **hyper):
        """The pure machine behind this optimizer."""
        step = max(1, round(switch_at * total_steps)) if isinstance(switch_at, float) else switch_at
        return SwitchingMachine(switch_step=step, **hyper)

    @property
    def switched_at(self):
        """Number of updates by Adam before SGD took over, or None while Adam runs."""
        return int(self.state_value("switched_at")) or None

    @property
    def current_sgd_learning_rate(self):
        """Λ: SGD's ε, fixed at the switch; None while Adam runs."""
        return self.switched_at and self.machine.switched_rate(self.state_value)


def _check_switch(switch_at, total_steps):
    if total_steps is not None:
        require_integer("AdamThenSGD", 1, total_steps=total_steps)
    if switch_at is None:
        return
    if isinstance(switch_at, float):
        good = is_number(switch_at) and 0 < switch_at < 1
        require(
            good, "AdamThenSGD", "switch_at", switch_at, "a fraction of the run in (0, 1), or an integer > 0"
        )
        require(
            total_steps is not None, "AdamThenSGD", "total_steps", None, "the run's updates beside a fraction"
        )
    else:
        require_integer("AdamThenSGD", 1, switch_at=switch_at)
