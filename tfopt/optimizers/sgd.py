"""SGD: stochastic gradient descent."""

import keras

from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import RuleMachine
from tfopt.optimizers._rule import Rule


def update(g, p, slots, s):
    """θ ← θ − εg."""
    return -s.rate * g, slots


def scalars(t, learning_rate):
    """ε."""
    return {"rate": learning_rate}


@keras.saving.register_keras_serializable(package="tfopt")
class SGD(MachineOptimizer):
    """Stochastic gradient descent.

    The update, with g the gradient of the minibatch loss::

        θ ← θ − ε g

    ε is `learning_rate`. At a minimum the gradient of a minibatch does not vanish, so ε has to fall for the
    iterates to settle: `tfopt.schedules.LinearDecay` in practice, `tfopt.schedules.RobbinsMonro` for the
    classical guarantee, under which the excess error falls like 1/k on a strongly convex problem.

    Differs from Keras: no `momentum` and `nesterov` arguments; see `tfopt.Momentum` and `tfopt.Nesterov`.

    Args:
        learning_rate: ε, a number, a schedule or a callable; units of weight per unit of gradient.
        **options: Options of every tfopt optimizer; see `tfopt.optimizers`.

    Raises:
        ValueError: If `learning_rate` is not a finite number above 0.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(1.0)
        >>> tfopt.SGD(learning_rate=0.5).apply([keras.ops.convert_to_tensor(0.25)], [weight])
        >>> float(weight)
        0.875

    Source: Robbins and Monro, A Stochastic Approximation Method, 1951; chapter section 4.1.
    """

    def __init__(self, learning_rate=0.01, **options):
        super().__init__(learning_rate, {}, **options)

    def make_machine(self):
        """The pure machine behind this optimizer."""
        return RuleMachine(Rule(name="sgd", update=update, scalars=scalars))
