"""PolyakAverage: the mean of an optimizer's iterates."""

import keras
import tensorflow as tf

from tfopt._check import require_fraction, require_integer
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._wrapper import WrapperMachine, config_of, options_of, require_inner, require_no_search


class AveragingMachine(WrapperMachine):
    """Runs another machine and keeps the average of its iterates."""

    own_slots = (Slot("polyak_average"),)

    def __init__(self, inner, decay, start_step):
        super().__init__(inner)
        self.displaced = self.swaps = True
        self.decay = decay
        self.start_step = start_step

    def settle(self, iterate, state, context):
        """Take the new iterate into the average."""
        rate = self.newest_weight(context.t)
        rows = zip(state["polyak_average"], iterate, strict=True)
        moved = [a + (p - a) * tf.cast(rate, p.dtype) for a, p in rows]
        return self.inner.settle(iterate, state, context) | {"polyak_average": moved}

    def newest_weight(self, t):
        """What the newest iterate counts for: 1 up to the first one averaged, then 1/n or 1 − decay."""
        averaged = tf.maximum(t - self.start_step, 1.0)
        if self.decay is None:
            return 1.0 / averaged
        return tf.where(averaged > 1.0, tf.constant(1.0 - self.decay, tf.float64), 1.0)

    def expose(self, point, state, context):
        """Show the average; the training point waits in the average's slot, so that nothing is lost."""
        # Before the first update there is no average.
        begun = context.t > 1.0
        shown = [tf.where(begun, a, p) for a, p in zip(state["polyak_average"], point, strict=True)]
        return shown, state | {"polyak_average": point}

    def resume(self, visible, state, context):
        """Undo `expose`."""
        return state["polyak_average"], state | {"polyak_average": visible}

    def adopt(self, visible, state, context):
        """What is visible is the average so far, and the inner machine's start."""
        point, state = self.inner.adopt(visible, state, context)
        return point, state | {"polyak_average": visible}


@keras.saving.register_keras_serializable(package="tfopt")
class PolyakAverage(MachineOptimizer):
    """Polyak averaging: trains with another optimizer, answers with the mean of its iterates.

    With θ_t the iterates of `inner`, t counted from 1, and k = `start_step`::

        θ̄_t = (θ_{k+1} + … + θ_t) / (t − k)             decay=None
        θ̄_t = α θ̄_{t−1} + (1 − α) θ_t,  θ̄_{k+1} = θ_{k+1}   decay=α

    Up to t = k + 1 the average is the iterate itself. The arithmetic mean suits convex problems, where the
    iterates circle the minimum; the exponential one forgets the distant past, as non-convex problems need.

    While training, the model's variables hold what `inner` needs; when `fit` ends they hold θ̄ and the
    training point waits in the state, so that training can go on from it. For validation and checkpoints
    inside `fit` add `tfopt.callbacks.EvaluationWeights()`. Without that callback the first step of a second
    `fit` uses a gradient taken at θ̄, and weights that were set between the two are taken for θ̄ alone; with it
    training goes on from them. Options such as `clipnorm` and the learning rate are those of `inner`,
    which only describes the method: its own state stays empty. The average is float32 for float16 and
    bfloat16 weights.

    Differs from Keras: `use_ema` knows the exponential mean only, and overwrites the iterate with it when
    `fit` ends.

    Args:
        inner: A tfopt optimizer that has not been built.
        decay: α in [0, 1), or None for the arithmetic mean.
        start_step: k >= 0: number of updates left out of the mean.
        name: Name of the optimizer.

    Raises:
        ValueError: If an argument lies outside its range, or `inner` is not an unbuilt tfopt optimizer.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable(0.0)
        >>> optimizer = tfopt.PolyakAverage(tfopt.SGD(learning_rate=1.0))
        >>> for gradient in (1.0, 1.0, -2.0):  # iterates −1, −2 and 0
        ...     optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        >>> optimizer.to_evaluation_weights()
        >>> float(weight)
        -1.0

    Source: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; chapter
    section 8.2.
    """

    def __init__(self, inner, decay=None, start_step=0, name=None, **options):
        require_inner("PolyakAverage", inner, options)
        require_no_search("PolyakAverage", inner)
        if decay is not None:
            require_fraction("PolyakAverage", decay=decay)
        require_integer("PolyakAverage", 0, start_step=start_step)
        hyper = dict(inner=inner, decay=decay, start_step=start_step)
        super().__init__(inner.learning_rate_argument(), hyper, name=name, **options_of(inner))

    def make_machine(self, *, inner, decay, start_step):
        """The pure machine behind this optimizer."""
        return AveragingMachine(inner.machine, decay, start_step)

    def get_config(self):
        """Constructor arguments; the learning rate and the options are in `inner`."""
        return config_of(super().get_config(), "decay", "start_step")
