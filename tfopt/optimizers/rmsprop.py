"""RMSProp: a rate per weight, from the running mean of squared gradients."""

import functools

import keras
import tensorflow as tf

from tfopt._check import require, require_choice, require_fraction, require_positive
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._rule import Rule, blend_for, require_momentum, value_at


def plain(g, p, slots, s, blend):
    """r ← ρr + (1−ρ)g²; θ ← θ − εg/(δ + √r)."""
    (r,) = slots
    r = blend(r, tf.square(g), s.one_minus_rho)
    return g / (tf.sqrt(r) + s.epsilon) * -s.rate, (r,)


def centered(g, p, slots, s, blend):
    """As `plain`, with the variance r − m² in place of the mean square."""
    r, m = slots
    r, m, root = _deviation(g, r, m, s, blend)
    return g / (root + s.epsilon) * -s.rate, (r, m)


def with_momentum(g, p, slots, s, blend):
    """v ← αv − εg/(δ + √r); θ ← θ + v."""
    r, v = slots
    r = blend(r, tf.square(g), s.one_minus_rho)
    v = s.momentum * v - g / (tf.sqrt(r) + s.epsilon) * s.rate
    return v, (r, v)


def centered_with_momentum(g, p, slots, s, blend):
    """As `with_momentum`, with the variance r − m² in place of the mean square."""
    r, v, m = slots
    r, m, root = _deviation(g, r, m, s, blend)
    v = s.momentum * v - g / (root + s.epsilon) * s.rate
    return v, (r, v, m)


def lookahead(slots, s):
    """αv: from the iterate to where its gradient is taken."""
    return s.momentum * slots[1]


def scalars(t, learning_rate, rho, epsilon, momentum):
    """ε, 1 − ρ, δ and α."""
    made = {"rate": learning_rate, "one_minus_rho": 1.0 - rho, "epsilon": epsilon}
    return made | {"momentum": value_at(momentum, t)}


def rule(rho, epsilon, momentum, nesterov, centered):
    """The pure rule for one setting of the hyper-parameters."""
    moving = callable(momentum) or momentum > 0
    name, update, slots = _FORMS[centered, moving]
    return Rule(
        name=f"{name}_nesterov" if nesterov else name,
        update=functools.partial(update, blend=blend_for(rho)),
        scalars=functools.partial(scalars, rho=rho, epsilon=epsilon, momentum=momentum),
        slots=slots,
        lookahead=lookahead if nesterov else None,
    )


def _deviation(g, r, m, s, blend):
    r = blend(r, tf.square(g), s.one_minus_rho)
    m = blend(m, g, s.one_minus_rho)
    # r − m² is a variance, but may round to just below 0.
    return r, m, tf.sqrt(tf.nn.relu(r - tf.square(m)))


_FORMS = {
    (False, False): ("rmsprop", plain, ("square",)),
    (True, False): ("rmsprop_centered", centered, ("square", "mean")),
    (False, True): ("rmsprop_momentum", with_momentum, ("square", "velocity")),
    (True, True): ("rmsprop_centered_momentum", centered_with_momentum, ("square", "velocity", "mean")),
}


@keras.saving.register_keras_serializable(package="tfopt")
class RMSProp(MachineOptimizer):
    """RMSProp: the gradient divided by the root of its running mean square; momentum and centring on demand.

    With r = m = v = 0 at the start and g the gradient::

        r ← ρ r + (1 − ρ) g²
        θ ← θ − ε g / (δ + √r)

        v ← α v − ε g / (δ + √r)         with momentum; θ ← θ + v
        m ← ρ m + (1 − ρ) g              centered: √(r − m²) in place of √r

    ε is `learning_rate`, ρ `rho`, δ `epsilon`, α `momentum`. With `nesterov` the gradient is taken at θ + αv,
    exactly, as in `tfopt.Nesterov`: the variables hold that point while training, θ when `fit` ends. Under a
    constant gradient the step at time τ is ε / √(1 − ρ^τ), falling from ε / √(1 − ρ) to ε. (The chapter
    leaves δ out of the form with momentum; it stands here in all.) Slots are float32 for float16 and bfloat16
    weights.

    Differs from Keras: δ is added outside the root and is 1e-6 instead of 1e-7; `nesterov`; `momentum` may be
    a schedule; with momentum, ε multiplies the gradient before it enters v, so that a change of ε acts on new
    gradients only.

    Args:
        learning_rate: ε, a number, a schedule or a callable; the step length in units of the weights.
        rho: ρ in [0, 1).
        epsilon: δ > 0.
        momentum: α in [0, 1), or a `keras.optimizers.schedules.LearningRateSchedule` of such values.
        nesterov: Take the gradient at θ + αv; needs a `momentum`.
        centered: Divide by the standard deviation instead of the root mean square.
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range, or `nesterov` is asked for without `momentum`.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(0.0)
        >>> optimizer = tfopt.RMSProp(learning_rate=0.3, rho=0.91)
        >>> optimizer.apply([keras.ops.convert_to_tensor(50.0)], [weight])
        >>> round(float(weight), 4)  # −ε / √(1 − ρ)
        -1.0

    Source: Hinton, Neural Networks for Machine Learning, lecture 6e, 2012; Graves, Generating Sequences with
    Recurrent Neural Networks, 2013, equations 38 to 45 (centred); chapter section 5.3.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        rho=0.9,
        epsilon=1e-6,
        momentum=0.0,
        nesterov=False,
        centered=False,
        **options,
    ):
        require_fraction("RMSProp", rho=rho)
        require_positive("RMSProp", epsilon=epsilon)
        require_momentum("RMSProp", momentum)
        require_choice("RMSProp", (False, True), nesterov=nesterov, centered=centered)
        still = nesterov and not callable(momentum) and momentum == 0
        require(not still, "RMSProp", "momentum", momentum, "momentum > 0 beside nesterov=True")
        hyper = dict(rho=rho, epsilon=epsilon, momentum=momentum, nesterov=nesterov, centered=centered)
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, **hyper):
        """The pure machine behind this optimizer."""
        return RuleMachine(rule(**hyper))
