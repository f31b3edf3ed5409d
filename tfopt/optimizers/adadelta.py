"""AdaDelta: a windowed AdaGrad that finds its own units."""

import functools

import keras
import tensorflow as tf

from tfopt._check import is_number, require, require_fraction, require_positive
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._rule import Rule, blend_for

RHO = 0.95


def update(g, p, slots, s, blend):
    """r ← ρr + (1−ρ)g²; Δ = −√((d+δ)/(r+δ)) g; d ← ρd + (1−ρ)Δ²; θ ← θ + εΔ."""
    r, d = slots
    r = blend(r, tf.square(g), s.one_minus_rho)
    delta = g * tf.sqrt((d + s.epsilon) / (r + s.epsilon))
    d = blend(d, tf.square(delta), s.one_minus_rho)
    return -s.rate * delta, (r, d)


def scalars(t, learning_rate, rho, epsilon):
    """ε, 1 − ρ and δ."""
    return {"rate": learning_rate, "one_minus_rho": 1.0 - rho, "epsilon": epsilon}


@keras.saving.register_keras_serializable(package="tfopt")
class AdaDelta(MachineOptimizer):
    """AdaDelta: AdaGrad over a window of recent gradients, with steps in the units of the weights.

    With r = d = 0 at the start and g the gradient::

        r ← ρ r + (1 − ρ) g²
        Δ = − √(d + δ) / √(r + δ) · g
        d ← ρ d + (1 − ρ) Δ²
        θ ← θ + ε Δ

    ρ is `rho`, δ `epsilon`, ε `learning_rate` (1 in the paper: the method has no rate of its own). A window
    of w gradients, kept softly, means ρ = 1 − 1/w: pass `window=w` in place of `rho`. Slots are float32 for
    float16 and bfloat16 weights.

    Differs from Keras: ε is 1 instead of 0.001, δ 1e-6 instead of 1e-7, both as in the paper; `window`.

    Args:
        learning_rate: ε, a number, a schedule or a callable; a pure factor.
        rho: ρ in [0, 1).
        epsilon: δ > 0; √δ is the length of the first step's scale.
        window: w > 1 in steps, or None for `rho`.
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range, or `window` is given beside a `rho` of one's own.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(0.0)
        >>> optimizer = tfopt.AdaDelta(window=20)  # ρ = 0.95
        >>> optimizer.apply([keras.ops.convert_to_tensor(3.0)], [weight])
        >>> round(float(weight) * 1e3, 3)  # −√δ / √(0.05)
        -4.472

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, algorithm 1; chapter section 5.3.4.
    """

    def __init__(self, learning_rate=1.0, rho=RHO, epsilon=1e-6, window=None, **options):
        require_fraction("AdaDelta", rho=rho)
        require_positive("AdaDelta", epsilon=epsilon)
        if window is not None:
            require(
                is_number(window) and window > 1, "AdaDelta", "window", window, "a number with window > 1"
            )
            require(
                rho == RHO, "AdaDelta", "rho", rho, "no rho beside a window, which stands for 1 - 1/window"
            )
        super().__init__(learning_rate, dict(rho=rho, epsilon=epsilon, window=window), **options)

    def make_machine(self, *, rho, epsilon, window):
        """The pure machine behind this optimizer."""
        rho = rho if window is None else 1.0 - 1.0 / window
        rule = Rule(
            name="adadelta",
            update=functools.partial(update, blend=blend_for(rho)),
            scalars=functools.partial(scalars, rho=rho, epsilon=epsilon),
            slots=("square", "squared_step"),
        )
        return RuleMachine(rule)
