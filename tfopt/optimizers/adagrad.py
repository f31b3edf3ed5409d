"""AdaGrad: a rate per weight, from the sum of squared gradients."""

import functools

import keras
import tensorflow as tf

from tfopt._check import require_positive
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._rule import Rule


def update(g, p, slots, s):
    """r ← r + g²; θ ← θ − εg/(δ + √r)."""
    (r,) = slots
    r = r + tf.square(g)
    return g / (tf.sqrt(r) + s.epsilon) * -s.rate, (r,)


def scalars(t, learning_rate, epsilon):
    """ε and δ."""
    return {"rate": learning_rate, "epsilon": epsilon}


@keras.saving.register_keras_serializable(package="tfopt")
class AdaGrad(MachineOptimizer):
    """AdaGrad: each weight's rate falls with the root of the sum of its squared gradients.

    With r = 0 at the start and g the gradient::

        r ← r + g²
        θ ← θ − ε g / (δ + √r)

    ε is `learning_rate`, δ `epsilon`. Under a constant gradient the step at time τ is ε / √τ: it falls for
    ever, which suits convex problems and often stops deep networks too early. Slots are float32 for float16
    and bfloat16 weights.

    Differs from Keras: r starts at 0 (Keras: 0.1, which makes the first steps for |g| near 1e-3 about 140
    times smaller), ε is 0.01 instead of 0.001, and δ stands outside the root.

    Args:
        learning_rate: ε, a number, a schedule or a callable; the first step's length in units of the weights.
        epsilon: δ > 0.
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(0.0)
        >>> optimizer = tfopt.AdaGrad(learning_rate=1.0)
        >>> for _ in range(4):  # steps of 1, 1/√2, 1/√3 and 1/√4
        ...     optimizer.apply([keras.ops.convert_to_tensor(7.0)], [weight])
        >>> round(float(weight), 4)
        -2.7845

    Source: Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, 2011, section 1.3 (diagonal form); chapter section 5.2.
    """

    def __init__(self, learning_rate=0.01, epsilon=1e-7, **options):
        require_positive("AdaGrad", epsilon=epsilon)
        super().__init__(learning_rate, dict(epsilon=epsilon), **options)

    def make_machine(self, *, epsilon):
        """The pure machine behind this optimizer."""
        scalars_ = functools.partial(scalars, epsilon=epsilon)
        return RuleMachine(Rule(name="adagrad", update=update, scalars=scalars_, slots=("square_sum",)))
