"""Momentum: gradient descent with a velocity."""

import functools

import keras

from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._rule import Rule, require_momentum, value_at


def update(g, p, slots, s):
    """v ← αv − εg; θ ← θ + v: the increment is v."""
    (v,) = slots
    v = s.momentum * v - s.rate * g
    return v, (v,)


def scalars(t, learning_rate, momentum):
    """ε and α."""
    return {"rate": learning_rate, "momentum": value_at(momentum, t)}


@keras.saving.register_keras_serializable(package="tfopt")
class Momentum(MachineOptimizer):
    """Gradient descent with momentum: a velocity that remembers past gradients with decaying weight.

    With v = 0 at the start and g the gradient::

        v ← α v − ε g
        θ ← θ + v

    ε is `learning_rate`, α `momentum`. Under a constant gradient the step grows to ε‖g‖ / (1 − α). `momentum`
    may be a schedule; small at first and large later is usual. Schedules count updates.

    Differs from Keras: a class of its own; `keras.optimizers.SGD(momentum=…)` computes the same.

    Args:
        learning_rate: ε, a number, a schedule or a callable; units of weight per unit of gradient.
        momentum: α in [0, 1), or a `keras.optimizers.schedules.LearningRateSchedule` of such values.
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(0.0)
        >>> optimizer = tfopt.Momentum(learning_rate=1.0, momentum=0.5)
        >>> for _ in range(3):  # steps of 1, 1.5 and 1.75, on the way to 2
        ...     optimizer.apply([keras.ops.convert_to_tensor(1.0)], [weight])
        >>> float(weight)
        -4.25

    Source: Polyak, Some Methods of Speeding Up the Convergence of Iteration Methods, 1964; chapter
    section 4.2.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, **options):
        require_momentum("Momentum", momentum)
        super().__init__(learning_rate, dict(momentum=momentum), **options)

    def make_machine(self, *, momentum):
        """The pure machine behind this optimizer."""
        scalars_ = functools.partial(scalars, momentum=momentum)
        return RuleMachine(Rule(name="momentum", update=update, scalars=scalars_, slots=("velocity",)))
