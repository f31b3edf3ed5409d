"""Nesterov's accelerated gradient."""

import functools

import keras

from tfopt.optimizers import momentum as heavy_ball
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._rule import Rule, require_momentum


def lookahead(slots, s):
    """αv: from the iterate to where its gradient is taken."""
    return s.momentum * slots[0]


@keras.saving.register_keras_serializable(package="tfopt")
class Nesterov(MachineOptimizer):
    """Nesterov's accelerated gradient: momentum with the gradient taken where the velocity leads.

    With v = 0 at the start and J the loss::

        v ← α v − ε ∇J(θ + α v)
        θ ← θ + v

    ε is `learning_rate`, α `momentum`. The gradient really is taken at θ + αv: while training, the model's
    variables hold that look-ahead point; when `fit` ends they hold θ. For validation and checkpoints inside
    `fit` add `tfopt.callbacks.EvaluationWeights()`, in a loop of your own call
    `optimizer.to_evaluation_weights()` and `optimizer.to_training_weights()` around the evaluation. With the
    full batch of a convex loss the excess error falls like 1/k² instead of 1/k; with minibatches the rate is
    that of SGD.

    A second `fit` starts at θ: its first gradient is taken there (a step of plain momentum), unless the
    callback is present, which first moves the variables to the look-ahead point.

    Differs from Keras: `keras.optimizers.SGD(nesterov=True)` keeps θ + αv in the variables for good and
    leaves them there.

    Args:
        learning_rate: ε, a number, a schedule or a callable; units of weight per unit of gradient.
        momentum: α in [0, 1), or a `keras.optimizers.schedules.LearningRateSchedule` of such values.
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(1.0)
        >>> optimizer = tfopt.Nesterov(learning_rate=0.25, momentum=0.5)
        >>> for _ in range(2):  # gradient of θ²/2
        ...     optimizer.apply([weight.value + 0.0], [weight])
        >>> float(weight)  # θ + αv
        0.328125
        >>> optimizer.to_evaluation_weights()
        >>> float(weight)  # θ
        0.46875

    Source: Nesterov, A Method of Solving a Convex Programming Problem with Convergence Rate O(1/k²), 1983;
    Sutskever et al., On the Importance of Initialization and Momentum in Deep Learning, 2013, section 2;
    chapter section 4.2.3.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, **options):
        require_momentum("Nesterov", momentum)
        super().__init__(learning_rate, dict(momentum=momentum), **options)

    def make_machine(self, *, momentum):
        """The pure machine behind this optimizer."""
        rule = Rule(
            name="nesterov",
            update=heavy_ball.update,
            scalars=functools.partial(heavy_ball.scalars, momentum=momentum),
            slots=("velocity",),
            lookahead=lookahead,
        )
        return RuleMachine(rule)
