"""A step's gradients on their way to the rule: summed over micro-steps, unscaled, checked, clipped.

Accumulators hold the sum of the gradients as they came; what divides them, the loss's scale and the number of
micro-steps, is one number.
"""

import functools

import tensorflow as tf

from tfopt.kernels._gradients import cast, computes_in


def of(kernel, step, options):
    """The gradients of `step`, in the form that `kernel` takes; None is the Python rule."""
    if "gradients" in getattr(kernel, "fuses", ()):
        return Given(kernel, step, options)
    return Dense(step, options)


class Dense:
    """Dense gradients in the compute dtype, each operation on them a pass of its own."""

    def __init__(self, step, options):
        self.step, self.options = step, options
        totals = [_dense(g, w) for g, w in zip(step.gradients, step.weights, strict=True)]
        if step.accumulators:
            totals = [a + g for a, g in zip(step.accumulators, totals, strict=True)]
        self.totals = totals

    def finite(self):
        """Whether every element is finite."""
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in self.totals])

    def dense(self):
        """What the rule takes."""
        divisor = _divisor(self.options)
        return _clip(self.totals if divisor == 1 else [g / divisor for g in self.totals], self.options)

    def arguments(self):
        """What a kernel takes."""
        return {"gradients": self.dense()}

    def hold(self):
        """Keep the sum for a later micro-step."""
        for accumulator, total in zip(self.step.accumulators, self.totals, strict=True):
            accumulator.assign(total)
        return True

    def drop(self):
        """Forget what was accumulated."""
        return _zero(self.step.accumulators)

    # After an update: a kernel that takes dense gradients knows nothing of accumulators.
    settle = drop


class Given:
    """Gradients as they came: the kernel sums, unscales and clips them in the pass that updates."""

    def __init__(self, kernel, step, options):
        self.kernel, self.step, self.options = kernel, step, options
        self.gradients = kernel.prepare(step.gradients, step.weights)

    @functools.cached_property
    def norms(self):
        """The norm of all sums of gradients, and the norm of each; one pass that finite check and clipping share."""
        return self.kernel.norms(self.gradients, self.step.accumulators)

    def finite(self):
        """Whether every element is finite."""
        return tf.math.is_finite(self.norms[0])

    def arguments(self):
        """What the kernel takes."""
        bound = (
            {"bound": self.options.clipvalue} if self.options.clipvalue and not _scales(self.options) else {}
        )
        return {
            "gradients": self.gradients,
            "accumulators": self.step.accumulators,
            "factors": self._factors(),
            **bound,
        }

    def _factors(self):
        scale = 1.0 / _divisor(self.options)
        most = self.options.clipnorm or self.options.global_clipnorm
        if not most:
            return scale
        if self.options.clipnorm:
            norm, lost = self.norms[1] * scale, 0.0
        else:
            norm = self.norms[0] * scale
            # An infinite norm gives NaN, as in tf.clip_by_global_norm.
            lost = norm - norm
        return scale * (most / tf.maximum(norm, most) + lost)

    def hold(self):
        """Keep the sum for a later micro-step."""
        self.kernel.accumulate(self.step.accumulators, self.gradients)
        return True

    def drop(self):
        """Forget what was accumulated."""
        return _zero(self.step.accumulators)

    def settle(self):
        """After an update: the kernel has zeroed the accumulators."""


def _dense(gradient, weight):
    if not isinstance(gradient, tf.IndexedSlices):
        gradient = tf.convert_to_tensor(gradient)
    # Rows that belong together are summed in the wider type.
    return tf.convert_to_tensor(cast(gradient, computes_in(weight.dtype)))


def _divisor(options):
    return (options.loss_scale_factor or 1.0) * (options.accumulation or 1)


def _zero(variables):
    for variable in variables:
        variable.assign(tf.zeros_like(variable))
    return True


def _scales(options):
    """Whether clipping multiplies gradients by a factor, rather than cutting their elements off."""
    return bool(options.clipnorm or options.global_clipnorm)


def _clip(gradients, options):
    if options.clipnorm:
        return [tf.clip_by_norm(g, options.clipnorm) for g in gradients]
    if options.global_clipnorm:
        return tf.clip_by_global_norm(gradients, options.global_clipnorm)[0]
    if options.clipvalue:
        return [tf.clip_by_value(g, -options.clipvalue, options.clipvalue) for g in gradients]
    return gradients
