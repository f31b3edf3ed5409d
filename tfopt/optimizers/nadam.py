"""NAdam: Adam with Nesterov's momentum, in two forms."""

import functools

import keras
import tensorflow as tf

from tfopt._check import require_choice, require_fraction, require_positive
from tfopt.optimizers import _moments
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._moments import moments_for
from tfopt.optimizers._rule import Rule, bias_correction

FORMS = ("dozat", "lookahead")
DECAY_BASE = 0.96
DECAY_RATE = 0.004


def dozat(g, p, slots, s, moments):
    """θ ← θ − (ε_s s + ε_g g)/(√r̂ + δ): next step's momentum applied already now."""
    m, v = moments(g, slots[0], slots[1], s)
    return (-s.momentum_rate * m - s.gradient_rate * g) / (tf.sqrt(v) + s.epsilon), (m, v)


def adam_keeping_step(g, p, slots, s, moments):
    """Adam's update Δ, which also stays in a slot."""
    m, v, _ = slots
    m, v = moments(g, m, v, s)
    step = m / (tf.sqrt(v) + s.epsilon) * -s.rate
    return step, (m, v, step)


def lookahead(slots, s):
    """Δθ, the step made last: from the iterate to where its gradient is taken."""
    return slots[2]


def momentum_at(t, beta_1):
    """μ_t = ρ₁(1 − ½·0.96^(0.004 t))."""
    return beta_1 * (1.0 - 0.5 * DECAY_BASE ** (DECAY_RATE * t))


def carry(t, momentum_product, beta_1):
    """∏μ_i up to t."""
    return {"momentum_product": momentum_product * momentum_at(t, beta_1)}


def scalars(t, learning_rate, momentum_product, beta_1, beta_2, epsilon):
    """Dozat's weights of momentum and gradient, with the bias corrections."""
    root = tf.sqrt(bias_correction(beta_2, t))
    coming = momentum_at(t + 1, beta_1)
    return {
        "one_minus_beta_1": 1.0 - beta_1,
        "one_minus_beta_2": 1.0 - beta_2,
        "momentum_rate": learning_rate * root * coming / (1.0 - momentum_product * coming),
        "gradient_rate": learning_rate * root * (1.0 - momentum_at(t, beta_1)) / (1.0 - momentum_product),
        "epsilon": epsilon * root,
    }


def dozat_rule(beta_1, beta_2, epsilon):
    """The rule of the paper for one setting of the hyper-parameters."""
    return Rule(
        name="nadam",
        update=functools.partial(dozat, moments=moments_for(beta_1, beta_2)),
        scalars=functools.partial(scalars, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon),
        slots=("momentum", "velocity"),
        carried={"momentum_product": 1.0},
        carry=functools.partial(carry, beta_1=beta_1),
    )


def lookahead_rule(beta_1, beta_2, epsilon):
    """The chapter's rule for one setting of the hyper-parameters."""
    return Rule(
        name="nadam_lookahead",
        update=functools.partial(adam_keeping_step, moments=moments_for(beta_1, beta_2)),
        scalars=functools.partial(
            _moments.scalars, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, epsilon_mode="outside"
        ),
        slots=("momentum", "velocity", "step"),
        lookahead=lookahead,
    )


@keras.saving.register_keras_serializable(package="tfopt")
class NAdam(MachineOptimizer):
    """NAdam: Adam that takes its momentum one step ahead, as Nesterov's method does.

    ``form="dozat"`` puts the coming momentum into the present step. With t counted from 1, g the gradient,
    μ_t = ρ₁(1 − ½·0.96^(0.004 t)) and Π_t = μ_1 ⋯ μ_t::

        s ← ρ₁ s + (1 − ρ₁) g
        r ← ρ₂ r + (1 − ρ₂) g²           r̂ = r / (1 − ρ₂ᵗ)
        ŝ = μ_{t+1} s / (1 − Π_{t+1}) + (1 − μ_t) g / (1 − Π_t)
        θ ← θ − ε ŝ / (√r̂ + δ)

    ``form="lookahead"`` is Adam with the gradient taken at θ + Δθ, Δθ the step made last, exactly: the
    variables hold that point while training and θ when `fit` ends (see `tfopt.Nesterov` for validation
    inside `fit`). It keeps Δθ in a third slot.

    ε is `learning_rate`, ρ₁ `beta_1`, ρ₂ `beta_2`, δ `epsilon`. Slots are float32 for float16 and bfloat16
    weights.

    Differs from Keras: δ is 1e-8 instead of 1e-7; `form`; `keras.optimizers.Nadam` is the "dozat" form with
    μ_t = ρ₁(1 − ½·0.96ᵗ), which nears ρ₁ 250 times sooner than the paper's.

    Args:
        learning_rate: ε, a number, a schedule or a callable; the step length in units of the weights.
        beta_1: ρ₁ in [0, 1).
        beta_2: ρ₂ in [0, 1).
        epsilon: δ > 0.
        form: "dozat" or "lookahead".
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(1.0)
        >>> optimizer = tfopt.NAdam(learning_rate=0.1, form="lookahead")
        >>> optimizer.apply([keras.ops.convert_to_tensor(20.0)], [weight])
        >>> round(float(weight), 6)  # θ + Δθ = 1 − 0.1 − 0.1
        0.8
        >>> optimizer.to_evaluation_weights()
        >>> round(float(weight), 6)
        0.9

    Source: Dozat, Incorporating Nesterov Momentum into Adam, 2016, algorithm 2 and its momentum schedule;
    chapter section 5.4 (look-ahead form).
    """

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, form="dozat", **options):
        require_fraction("NAdam", beta_1=beta_1, beta_2=beta_2)
        require_positive("NAdam", epsilon=epsilon)
        require_choice("NAdam", FORMS, form=form)
        super().__init__(
            learning_rate, dict(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, form=form), **options
        )

    def make_machine(self, *, form, **hyper):
        """The pure machine behind this optimizer."""
        return RuleMachine(dozat_rule(**hyper) if form == "dozat" else lookahead_rule(**hyper))
