"""GaussianSmoothing: descends on a blurred objective that sharpens as training goes on."""

import keras
import tensorflow as tf

from tfopt._check import is_number, require, require_integer
from tfopt.line_search._search import choose
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._noise import key_of, normal, require_seed, seed_slot
from tfopt.optimizers._rule import value_at
from tfopt.optimizers._wrapper import (
    WrapperMachine,
    config_of,
    options_of,
    require_inner,
    require_no_search,
)


class SmoothingMachine(WrapperMachine):
    """Runs another machine on gradients taken at points scattered around where it is.

    The slot "center" holds the point that the inner machine would have in the variables. An update is made
    of `samples` evaluations of `batches` train steps each.
    """

    def __init__(self, inner, sigma, samples, batches, antithetic, seed):
        self.own_slots = (Slot("center"), Slot("sample", scalar=True), seed_slot(seed))
        super().__init__(inner)
        self.displaced, self.wanders = True, samples > 1
        self.sigma, self.batches, self.antithetic = sigma, batches, antithetic

    def iterate(self, point, state, context):
        """The inner machine's iterate, from the center."""
        return self.inner.iterate(self._center(point, state, context), state, context)

    def step(self, evaluation, iterate, state, context):
        """The inner machine's step; then the samples of the next update begin."""
        iterate, state = self.inner.step(evaluation, iterate, state, context)
        return iterate, state | {"sample": tf.zeros_like(state["sample"])}

    def idle(self, state, context):
        """As in `step`."""
        return self.inner.idle(state, context) | {"sample": tf.zeros_like(state["sample"])}

    def settle(self, iterate, state, context):
        """Keep the new center."""
        state = self.inner.settle(iterate, state, context)
        return state | {"center": self.inner.query(iterate, state, context.following())}

    def query(self, iterate, state, context):
        """The first sample around the center."""
        return self._displaced(state["center"], state, context)

    def wander(self, point, state, context):
        """The next sample around the same center."""
        center = self._center(point, state, context)
        state = state | {"center": center, "sample": state["sample"] + 1.0}
        return self._displaced(center, state, context), state

    def expose(self, point, state, context):
        """Show what the inner machine shows; the point can be found again."""
        center = self._center(point, state, context)
        return self.inner.expose(center, state | {"center": center}, context)

    def resume(self, visible, state, context):
        """Undo `expose`."""
        center, state = self.inner.resume(visible, state, context)
        return self._around(center, state, context)

    def adopt(self, visible, state, context):
        """Around the inner machine's new start."""
        center, state = self.inner.adopt(visible, state, context)
        return self._around(center, state, context)

    def _around(self, center, state, context):
        return self._displaced(center, state, context), state | {"center": center}

    def _center(self, point, state, context):
        """Before the first train step of all the point itself."""
        first = tf.equal(context.t, 1.0) & tf.equal(state["sample"], 0.0)
        return [tf.where(first, p, c) for p, c in zip(point, state["center"], strict=True)]

    def _displaced(self, center, state, context):
        """center + σz; weights frozen by their multiplier stay."""
        # The first batch is there before any displacement; the others of that evaluation belong to it.
        first = tf.equal(context.t, 1.0) & (state["sample"] < self.batches)
        sigma = choose(first, 0.0, value_at(self.sigma, context.t))

        def scatter():
            noise = self._noise(center, state, context)
            rows = zip(center, noise, context.multipliers, strict=True)
            return [p + tf.cast(sigma, p.dtype) * z if factor else tf.identity(p) for p, z, factor in rows]

        return tf.cond(sigma > 0.0, scatter, lambda: [tf.identity(p) for p in center])

    def _noise(self, center, state, context):
        """z of this sample; the second of an antithetic pair has the first one's with the other sign."""
        sample = tf.floor(state["sample"] / self.batches)
        draw = tf.floor(sample / 2.0) if self.antithetic else sample
        sign = 1.0 - 2.0 * (sample - 2.0 * draw) if self.antithetic else tf.ones_like(sample)
        keys = [key_of(state, context.t, draw, row) for row in context.rows]
        drawn = [normal(p.shape, p.dtype, key) for p, key in zip(center, keys, strict=True)]
        return [tf.cast(sign, z.dtype) * z for z in drawn]


@keras.saving.register_keras_serializable(package="tfopt")
class GaussianSmoothing(MachineOptimizer):
    """Gaussian smoothing: minimises a blurred objective, and less and less blurred ones, with `inner`.

    With σ the standard deviation of the blur at this update, in units of the weights::

        J_σ(θ) = E J(θ + σz),   z ~ N(0, I)
        ∇J_σ(θ) ≈ (1/M) Σ ∇J(θ + σz_j),   j = 1 … M

    and one step of `inner` with that gradient. Of a non-convex J the blur leaves the coarse shape, which has
    fewer minima; a σ that falls to 0 leads from the minimum of one J_σ to that of the next, and ends on J
    itself. At σ = 0 the method is `inner`, bit for bit.

    M is `samples`. Each train step is one evaluation of the gradient, so that M train steps make one update;
    where `inner` has `gradient_accumulation_steps`, so many batches are one evaluation, at one point. `sigma`
    and the learning rate count updates. With `antithetic` the samples are pairs θ ± σz: the variance of the
    mean is smaller the more nearly linear ∇J is within σ, and 0 on a quadratic. The noise is a function of
    the seed, of the update and of the sample: equal on every replica, and after a run was saved and loaded.
    Weights frozen by a multiplier of 0 are not displaced.

    While training, the model's variables hold θ + σz; when `fit` ends they hold θ. For validation and
    checkpoints inside `fit` add `tfopt.callbacks.EvaluationWeights()`. The first gradient of a run is taken
    at θ itself, and so is that of a second `fit` without that callback. Options such as `clipnorm` are those
    of `inner` and act on the mean of the samples. Memory: θ once more, and with M > 1 a sum of gradients, in
    float32 for float16 and bfloat16 weights.

    Args:
        inner: A tfopt optimizer that has not been built, none with a line search: values of J at scattered
            points cannot be compared.
        sigma: σ: a number >= 0, a schedule or a function of the number of updates so far, whose values below
            0 count as 0.
        samples: M >= 1; even where `antithetic`.
        antithetic: Whether to draw the samples in pairs z, −z.
        seed: Integer in [0, 2³¹), or None for one from Python's generator, which
            `keras.utils.set_random_seed` sets.
        name: Name of the optimizer.

    Raises:
        ValueError: If an argument lies outside its range, or `inner` is not an unbuilt tfopt optimizer.

    Example:
        >>> import keras, tfopt
        >>> narrowing = keras.optimizers.schedules.PolynomialDecay(0.5, 100, end_learning_rate=0.0)
        >>> optimizer = tfopt.GaussianSmoothing(tfopt.SGD(0.1), narrowing, samples=2, antithetic=True)
        >>> weight = keras.Variable([3.0])
        >>> for _ in range(2):  # two evaluations, one update
        ...     optimizer.apply([weight * 1.0], [weight])
        >>> optimizer.to_evaluation_weights()
        >>> bool(2.5 < weight[0] < 2.9)
        True

    Source: Mobahi and Fisher, On the Link Between Gaussian Homotopy Continuation and Convex Envelopes, 2015;
    chapter section 8.5.
    """

    def __init__(self, inner, sigma, samples=1, antithetic=False, seed=None, name=None, **options):
        owner = "GaussianSmoothing"
        require_inner(owner, inner, options)
        require_no_search(owner, inner)
        require(not inner.machine.wanders, owner, "inner", inner, "one that is not smoothed already")
        if not callable(sigma):
            expected = "a finite number with sigma >= 0, a schedule or a function of the number of updates"
            require(is_number(sigma) and sigma >= 0, owner, "sigma", sigma, expected)
        require_integer(owner, 1, samples=samples)
        expected = "False where samples is odd"
        require(not antithetic or samples % 2 == 0, owner, "antithetic", antithetic, expected)
        require_seed(owner, seed)
        hyper = dict(inner=inner, sigma=sigma, samples=samples, antithetic=bool(antithetic), seed=seed)
        options = options_of(inner)
        steps = samples * (inner.gradient_accumulation_steps or 1)
        options["gradient_accumulation_steps"] = steps if steps > 1 else None
        super().__init__(inner.learning_rate_argument(), hyper, name=name, **options)

    def make_machine(self, *, inner, sigma, samples, antithetic, seed):
        """The pure machine behind this optimizer."""
        batches = inner.gradient_accumulation_steps or 1
        return SmoothingMachine(inner.machine, sigma, samples, batches, antithetic, seed)

    def get_config(self):
        """Constructor arguments; the learning rate and the options are in `inner`."""
        return config_of(super().get_config(), "sigma", "samples", "antithetic", "seed")
