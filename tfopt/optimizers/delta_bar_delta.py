"""Delta-bar-delta: a rate per weight, from the signs of successive gradients."""

import functools

import keras
import tensorflow as tf

from tfopt._check import require_fraction, require_positive
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._rule import Rule


def update(g, p, slots, s):
    """γ ← γ + κ/ε, γ(1−φ) or γ by the sign of δ̄g; θ ← θ − εγg; δ̄ ← (1−θ)g + θδ̄."""
    gain, trace = slots
    agreement = trace * g
    gain = tf.where(agreement > 0, gain + s.increment, tf.where(agreement < 0, gain * s.shrink, gain))
    # εg first: TensorFlow reassociates scalar·tensor·tensor on one replica and not on the other.
    return gain * (-s.rate * g), (gain, g + (trace - g) * s.theta)


def scalars(t, learning_rate, kappa, phi, theta):
    """ε, κ/ε, 1 − φ and θ."""
    # A rate of 0 freezes the weight; its gain then has no unit to grow in.
    increment = tf.math.divide_no_nan(tf.constant(kappa, tf.float64), learning_rate)
    return {"rate": learning_rate, "increment": increment, "shrink": 1.0 - phi, "theta": theta}


@keras.saving.register_keras_serializable(package="tfopt")
class DeltaBarDelta(MachineOptimizer):
    """Delta-bar-delta: each weight's rate grows while its gradient keeps its sign and shrinks when it flips.

    Per weight, with ε_w = `learning_rate` and δ̄ = 0 at the start and g the gradient of the FULL batch::

        ε_w ← ε_w + κ         if δ̄ g > 0
        ε_w ← ε_w (1 − φ)     if δ̄ g < 0
        θ   ← θ − ε_w g
        δ̄   ← (1 − ϑ) g + ϑ δ̄

    κ is `kappa`, φ `phi`, ϑ `theta`. Growth is by addition and shrinkage by a factor, so that rates fall fast
    and never below 0. The state keeps ε_w / ε, so a schedule or a later change of `learning_rate` scales all
    rates together, κ staying the growth of ε_w itself.

    Warning: the method reads meaning into the sign of every single partial derivative. With minibatches those
    signs are noise, the rates wander and training may diverge: use the full batch (one batch, or
    `gradient_accumulation_steps` = batches per epoch), or `tfopt.RMSProp` and `tfopt.Adam` for minibatches.

    Args:
        learning_rate: Initial ε_w of every weight; units of weight per unit of gradient.
        kappa: κ > 0, in the unit of `learning_rate`.
        phi: φ in [0, 1).
        theta: ϑ in [0, 1).
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(0.0)
        >>> optimizer = tfopt.DeltaBarDelta(learning_rate=1.0, kappa=0.5)
        >>> for _ in range(3):  # steps of 1, 1.5 and 2
        ...     optimizer.apply([keras.ops.convert_to_tensor(1.0)], [weight])
        >>> float(weight)
        -4.5

    Source: Jacobs, Increased Rates of Convergence through Learning Rate Adaptation, 1988, section 4; chapter
    section 5.1.
    """

    def __init__(self, learning_rate=0.01, kappa=1e-3, phi=0.1, theta=0.7, **options):
        require_positive("DeltaBarDelta", kappa=kappa)
        require_fraction("DeltaBarDelta", phi=phi, theta=theta)
        super().__init__(learning_rate, dict(kappa=kappa, phi=phi, theta=theta), **options)

    def make_machine(self, **hyper):
        """The pure machine behind this optimizer."""
        rule = Rule(
            name="delta_bar_delta",
            update=update,
            scalars=functools.partial(scalars, **hyper),
            slots=("gain", "trace"),
            initial={"gain": 1.0},
        )
        return RuleMachine(rule)
