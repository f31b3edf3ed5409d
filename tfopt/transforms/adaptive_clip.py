"""AdaptiveClip: gradients clipped unit by unit, relative to the weights they change."""

import re

import keras
import tensorflow as tf

from tfopt._check import require, require_positive
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._wrapper import WrapperMachine, config_of, options_of, require_inner, require_no_search


class ClippingMachine(WrapperMachine):
    """Clips the gradients, then runs another machine."""

    def __init__(self, inner, clipping, floor, exclude):
        super().__init__(inner)
        self.clipping, self.floor, self.exclude = clipping, floor, exclude
        self.excluded: list = []

    def arrange(self, paths, shapes):
        """Learn which weights are left alone."""
        super().arrange(paths, shapes)
        self.excluded = [any(re.search(pattern, path) for pattern in self.exclude) for path in paths]

    def step(self, evaluation, iterate, state, context):
        """The inner machine's step with clipped gradients."""
        rows = zip(evaluation.gradients, iterate, context.rows, strict=True)
        clipped = [g if self.excluded[row] else self._clipped(g, w) for g, w, row in rows]
        return self.inner.step(evaluation._replace(gradients=clipped), iterate, state, context)

    def _clipped(self, gradient, weight):
        bound = self.clipping * tf.maximum(_unit_norms(weight), tf.constant(self.floor, weight.dtype))
        norm = _unit_norms(gradient)
        return gradient * tf.where(norm > bound, tf.math.divide_no_nan(bound, norm), tf.ones_like(norm))


def _unit_norms(tensor):
    """Norm of what leads to each unit: over all axes but the last, over all of a vector."""
    axes = list(range(len(tensor.shape) - 1)) if len(tensor.shape) > 1 else None
    return tf.sqrt(tf.reduce_sum(tensor**2, axis=axes, keepdims=True))


@keras.saving.register_keras_serializable(package="tfopt")
class AdaptiveClip(MachineOptimizer):
    """Adaptive gradient clipping: bounds each unit's gradient by a share of the norm of its weights.

    With W_i the weights that lead to unit i (a column of a kernel, all of a bias), G_i its gradient, λ the
    `clipping` and ‖W_i‖* = max(‖W_i‖, `floor`)::

        G_i ← λ (‖W_i‖*/‖G_i‖) G_i    where ‖G_i‖ > λ ‖W_i‖*,   else G_i

    then a step of `inner` with it. At a cliff, where a product of many large weights makes the gradient
    enormous, plain gradient descent is thrown out of the region it has reached; clipped, its step is at most
    ελ‖W_i‖*, a share of the weights, and in the same direction, unit by unit. One λ fits layers of different
    scales, where a global bound (`clipnorm`, `global_clipnorm`, `clipvalue` on any optimizer) must be found
    anew for each model. With Adam and other methods that scale the gradient, clipping acts before that, on
    their moments.

    The gradient is that of the whole update: summed over replicas and accumulated batches. Clipping by
    options of `inner` comes before it, and so does weight decay: ‖W_i‖ is what decay has left. Learning rate
    and options are those of `inner`, which only describes the method: its own state stays empty. The paper
    leaves the output layer alone: ``exclude=["name_of_that_layer"]``.

    Args:
        inner: A tfopt optimizer that has not been built, none with a line search.
        clipping: λ > 0; the smaller the batch the larger: 0.01 for batches of thousands, 0.1 for a hundred.
        floor: Least norm of weights that counts, > 0, so that zero weights can move.
        exclude: Regular expressions on the paths of variables that are not clipped.
        name: Name of the optimizer.

    Raises:
        ValueError: If an argument lies outside its range, or `inner` is not an unbuilt tfopt optimizer.

    Example:
        >>> import keras, tfopt
        >>> weight = keras.Variable([[3.0], [4.0]])  # one unit, of norm 5
        >>> optimizer = tfopt.transforms.AdaptiveClip(tfopt.SGD(1.0), clipping=0.1)
        >>> optimizer.apply([keras.ops.convert_to_tensor([[1000.0], [0.0]])], [weight])
        >>> weight.numpy().ravel().tolist()  # a step of 0.1 · 5
        [2.5, 4.0]

    Source: Brock, De, Smith and Simonyan, High-Performance Large-Scale Image Recognition Without
    Normalization, 2021, section 4; chapter sections 2.4 and 2.5.
    """

    def __init__(self, inner, clipping=0.01, floor=1e-3, exclude=(), name=None, **options):
        owner = "AdaptiveClip"
        require_inner(owner, inner, options)
        require_no_search(owner, inner)
        require_positive(owner, clipping=clipping, floor=floor)
        good = isinstance(exclude, (list, tuple)) and all(_compiles(pattern) for pattern in exclude)
        require(good, owner, "exclude", exclude, "a list of regular expressions on variable paths")
        hyper = dict(inner=inner, clipping=clipping, floor=floor, exclude=list(exclude))
        super().__init__(inner.learning_rate_argument(), hyper, name=name, **options_of(inner))

    def make_machine(self, *, inner, clipping, floor, exclude):
        """The pure machine behind this optimizer."""
        return ClippingMachine(inner.machine, clipping, floor, exclude)

    def get_config(self):
        """Constructor arguments; the learning rate and the options are in `inner`."""
        return config_of(super().get_config(), "clipping", "floor", "exclude")


def _compiles(pattern):
    try:
        re.compile(pattern)
    except (re.error, TypeError):
        return False
    return True
