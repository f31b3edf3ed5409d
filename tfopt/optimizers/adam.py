"""Adam: adaptive moments."""

import functools

import keras
import tensorflow as tf

from tfopt._check import require_choice, require_fraction, require_positive
from tfopt.optimizers import _moments
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._moments import EPSILON_MODES, moments_for
from tfopt.optimizers._rule import Rule
from tfopt.optimizers.amsgrad import reddi_rule


def outside(g, p, slots, s, moments):
    """θ ← θ − ε ŝ / (√r̂ + δ); δ and ε come with the bias corrections multiplied in."""
    m, v = moments(g, slots[0], slots[1], s)
    return m / (tf.sqrt(v) + s.epsilon) * -s.rate, (m, v)


def inside(g, p, slots, s, moments):
    """θ ← θ − ε ŝ / √(r̂ + δ)."""
    m, v = moments(g, slots[0], slots[1], s)
    return m / tf.sqrt(v + s.epsilon) * -s.rate, (m, v)


def rule(beta_1, beta_2, epsilon, epsilon_mode):
    """The pure rule for one setting of the hyper-parameters."""
    update = inside if epsilon_mode == "inside" else outside
    return Rule(
        name="adam_inside" if epsilon_mode == "inside" else "adam",
        update=functools.partial(update, moments=moments_for(beta_1, beta_2)),
        scalars=functools.partial(
            _moments.scalars, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, epsilon_mode=epsilon_mode
        ),
        slots=("momentum", "velocity"),
    )


@keras.saving.register_keras_serializable(package="tfopt")
class Adam(MachineOptimizer):
    """Adam: momentum on the gradient, divided by the root of its mean square, both without start-up bias.

    With t counted from 1, s = r = 0 at the start and g the gradient::

        s ← ρ₁ s + (1 − ρ₁) g            ŝ = s / (1 − ρ₁ᵗ)
        r ← ρ₂ r + (1 − ρ₂) g²           r̂ = r / (1 − ρ₂ᵗ)
        θ ← θ − ε ŝ / (√r̂ + δ)           epsilon_mode="outside"
        θ ← θ − ε ŝ / √(r̂ + δ)           epsilon_mode="inside"
        θ ← θ − ε√(1−ρ₂ᵗ)/(1−ρ₁ᵗ) s / (√r + δ)   epsilon_mode="hat"

    ε is `learning_rate`, ρ₁ `beta_1`, ρ₂ `beta_2`, δ `epsilon`. Under a constant gradient every step has
    length ε. Slots are float32 for float16 and bfloat16 weights.

    Differs from Keras: δ is added to the corrected root (Keras has the "hat" form) and is 1e-8 instead of
    1e-7; `epsilon_mode="hat", epsilon=1e-7` gives Keras' Adam.

    Args:
        learning_rate: ε, a number, a schedule or a callable; the step length in units of the weights.
        beta_1: ρ₁ in [0, 1).
        beta_2: ρ₂ in [0, 1).
        epsilon: δ > 0.
        amsgrad: Divide by the largest r̂ so far; see `tfopt.AMSGrad`.
        epsilon_mode: Where δ stands: "outside", "inside" or "hat".
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(1.0)
        >>> optimizer = tfopt.Adam(learning_rate=0.1)
        >>> optimizer.apply([keras.ops.convert_to_tensor(20.0)], [weight])
        >>> round(float(weight), 6)
        0.9

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1 ("outside"),
    section 2 ("hat"); chapter sections 5.4.1 ("inside") and 5.4.2 ("outside").
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        amsgrad=False,
        epsilon_mode="outside",
        **options,
    ):
        require_fraction("Adam", beta_1=beta_1, beta_2=beta_2)
        require_positive("Adam", epsilon=epsilon)
        require_choice("Adam", (False, True), amsgrad=amsgrad)
        require_choice("Adam", EPSILON_MODES, epsilon_mode=epsilon_mode)
        hyper = dict(
            beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, amsgrad=amsgrad, epsilon_mode=epsilon_mode
        )
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, *, amsgrad, **hyper):
        """The pure machine behind this optimizer."""
        return RuleMachine((reddi_rule if amsgrad else rule)(**hyper))
