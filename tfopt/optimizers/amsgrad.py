"""AMSGrad: Adam with a second moment that never shrinks."""

import functools

import keras
import tensorflow as tf

from tfopt._check import require_choice, require_fraction, require_positive
from tfopt.optimizers import _moments
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._moments import moments_for
from tfopt.optimizers._rule import Rule, bias_correction, blend_for

VARIANTS = ("reddi", "recursive")


def reddi(g, p, slots, s, moments):
    """r̂ ← max(r̂, r/(1−ρ₂ᵗ))."""
    m, v, largest = slots
    m, v = moments(g, m, v, s)
    largest = tf.maximum(largest, v * s.inverse_correction)
    return m / (tf.sqrt(largest) + s.epsilon) * -s.rate, (m, v, largest)


def reddi_inside(g, p, slots, s, moments):
    """As `reddi`, with δ under the root."""
    m, v, largest = slots
    m, v = moments(g, m, v, s)
    largest = tf.maximum(largest, v * s.inverse_correction)
    return m / tf.sqrt(largest + s.epsilon) * -s.rate, (m, v, largest)


def recursive(g, p, slots, s, blend):
    """r̂ ← max(r̂ + w(g² − r̂), r̂), w the weight that bias correction gives the newest square."""
    m, largest = slots
    m = blend(m, g, s.one_minus_beta_1)
    largest = largest + s.newest_weight * tf.nn.relu(tf.square(g) - largest)
    return m / (tf.sqrt(largest) + s.epsilon) * -s.rate, (m, largest)


def scalars(t, learning_rate, beta_1, beta_2, epsilon, epsilon_mode="outside"):
    """The step's scalars; in "hat" mode the maximum is taken before the correction, as Keras does."""
    if epsilon_mode == "hat":
        made = _moments.scalars(t, learning_rate, beta_1, beta_2, epsilon, "hat")
        return made | {"inverse_correction": 1.0}
    correction = bias_correction(beta_2, t)
    return {
        "one_minus_beta_1": 1.0 - beta_1,
        "one_minus_beta_2": 1.0 - beta_2,
        "newest_weight": (1.0 - beta_2) / correction,
        "inverse_correction": 1.0 / correction,
        "rate": learning_rate / bias_correction(beta_1, t),
        "epsilon": epsilon,
    }


def reddi_rule(beta_1, beta_2, epsilon, epsilon_mode):
    """The rule of the paper for one setting of the hyper-parameters."""
    inside = epsilon_mode == "inside"
    update = reddi_inside if inside else reddi
    return Rule(
        name="amsgrad_inside" if inside else "amsgrad",
        update=functools.partial(update, moments=moments_for(beta_1, beta_2)),
        scalars=functools.partial(
            scalars, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, epsilon_mode=epsilon_mode
        ),
        slots=("momentum", "velocity", "largest_velocity"),
    )


def recursive_rule(beta_1, beta_2, epsilon):
    """The chapter's rule for one setting of the hyper-parameters."""
    return Rule(
        name="amsgrad_recursive",
        update=functools.partial(recursive, blend=blend_for(beta_1)),
        scalars=functools.partial(scalars, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon),
        slots=("momentum", "largest_velocity"),
    )


@keras.saving.register_keras_serializable(package="tfopt")
class AMSGrad(MachineOptimizer):
    """AMSGrad: Adam whose second moment never shrinks, so that the effective step never grows.

    With t counted from 1, s = r = r̂ = 0 at the start and g the gradient::

        s ← ρ₁ s + (1 − ρ₁) g            ŝ = s / (1 − ρ₁ᵗ)
        r ← ρ₂ r + (1 − ρ₂) g²
        r̂ ← max(r̂, r / (1 − ρ₂ᵗ))                 variant="reddi"
        r̂ ← max((1 − w) r̂ + w g², r̂)              variant="recursive", w = (1 − ρ₂) / (1 − ρ₂ᵗ)
        θ ← θ − ε ŝ / (√r̂ + δ)

    ε is `learning_rate`, ρ₁ `beta_1`, ρ₂ `beta_2`, δ `epsilon`. "recursive" is the chapter's form; w is the
    weight that Adam's bias correction gives the newest square (1 at the first step, 1 − ρ₂ in the end), so
    that it too starts without bias, and it needs one slot less. In both forms ε / (√r̂ + δ) never grows.

    Differs from Keras: Keras takes the maximum before the bias correction, whereupon the effective step may
    grow while t is small; `tfopt.Adam(amsgrad=True, epsilon_mode="hat", epsilon=1e-7)` is that form.

    Args:
        learning_rate: ε, a number, a schedule or a callable; the step length in units of the weights.
        beta_1: ρ₁ in [0, 1).
        beta_2: ρ₂ in [0, 1).
        epsilon: δ > 0.
        variant: "reddi" or "recursive".
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(0.0)
        >>> optimizer = tfopt.AMSGrad(learning_rate=0.1, beta_1=0.0, variant="recursive")
        >>> for gradient in (4.0, 0.004):  # the second step remembers the large gradient
        ...     optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        >>> round(float(weight), 4)
        -0.1001

    Source: Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018, algorithm 2; chapter
    section 5.4.2.
    """

    def __init__(
        self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, variant="reddi", **options
    ):
        require_fraction("AMSGrad", beta_1=beta_1, beta_2=beta_2)
        require_positive("AMSGrad", epsilon=epsilon)
        require_choice("AMSGrad", VARIANTS, variant=variant)
        hyper = dict(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, variant=variant)
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, *, variant, **hyper):
        """The pure machine behind this optimizer."""
        if variant == "recursive":
            return RuleMachine(recursive_rule(**hyper))
        return RuleMachine(reddi_rule(**hyper, epsilon_mode="outside"))
