"""gradient_curvature: whether the curvature along the gradient allows the step."""

import math
from typing import NamedTuple

from tfopt._check import require_positive
from tfopt.analysis._finding import Finding
from tfopt.analysis._loss import loss_of


class GradientCurvature(NamedTuple):
    """The loss along the negative gradient, to second order, beside what a step really does.

    Attributes:
        loss: J(θ).
        squared_norm: gᵀg.
        curvature: gᵀHg.
        critical_rate: 2gᵀg/gᵀHg: a longer step −εg raises the loss to second order; infinite where gᵀHg <= 0.
        learning_rate: ε.
        predicted_change: The change of the loss to second order.
        actual_change: The change of the loss.
    """

    loss: float
    squared_norm: float
    curvature: float
    critical_rate: float
    learning_rate: float
    predicted_change: float
    actual_change: float

    @property
    def ill_conditioned(self):
        """Whether ½ε gᵀHg > gᵀg: to second order the step −εg raises the loss."""
        return 0.5 * self.learning_rate * self.curvature > self.squared_norm

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        if not self.ill_conditioned:
            return []
        return [
            Finding(
                name="ill-conditioned curvature",
                sentence=f"½ε gᵀHg = {0.5 * self.learning_rate * self.curvature:.3g} exceeds "
                f"gᵀg = {self.squared_norm:.3g} at ε = {self.learning_rate:.3g}.",
                reason="Along the negative gradient the loss bends up before the step ends, so that the step "
                "raises it, however strong the gradient.",
                advice=f"A learning rate below {self.critical_rate:.3g}; momentum, RMSProp or Adam, which "
                "damp the steep directions; normalisation layers; NewtonCG or LBFGS.",
            )
        ]


def gradient_curvature(
    target,
    x,
    y=None,
    sample_weight=None,
    *,
    learning_rate,
    batch_size=None,
    training=False,
    jit_compile=False,
):
    """Curvature along the gradient, the critical learning rate, and the change a step predicts and makes.

    To second order the step −εg changes the loss by::

        J(θ − εg) − J(θ) ≈ −ε gᵀg + ½ε² gᵀHg

    which is positive, a step that raises the loss, where ½ε gᵀHg > gᵀg, that is above the critical
    ε = 2gᵀg/gᵀHg. The product Hg is exact. Takes one gradient, one Hessian product and one more value of the
    loss: about 3½ gradients of the data.

    Args:
        target: As for `tfopt.curvature.hessian_operator`: a compiled model or a function of `x`.
        x: As there.
        y: As there.
        sample_weight: As there.
        learning_rate: ε > 0.
        batch_size: As there.
        training: As there.
        jit_compile: As there.

    Returns:
        A `GradientCurvature`, with ``loss``, ``squared_norm``, ``curvature``, ``critical_rate``,
        ``learning_rate``, ``predicted_change``, ``actual_change``, ``ill_conditioned`` and ``findings``.

    Raises:
        ValueError: If the model has no loss or an argument lies outside its range.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> bowl = lambda x: 0.5 * (x[0] ** 2 + 10.0 * x[1] ** 2)
        >>> along = tfopt.analysis.gradient_curvature(bowl, tf.constant([0.0, 1.0]), learning_rate=0.25)
        >>> round(along.critical_rate, 6), along.ill_conditioned, along.actual_change > 0
        (0.2, True, True)

    Source: chapter section 2.1.
    """
    owner = "gradient_curvature"
    require_positive(owner, learning_rate=learning_rate)
    options = dict(batch_size=batch_size, training=training, jit_compile=jit_compile)
    loss = loss_of(owner, target, (x, y, sample_weight), **options)
    start, gradient = loss.value_and_gradient()
    product = loss.hessian @ gradient
    step = -learning_rate * gradient
    with loss.at(loss.vector() + step):
        end = loss.value()
    return along(start, gradient, product, learning_rate, (step, -learning_rate * product, end - start))


def along(start, gradient, product, learning_rate, taken):
    """The record of a point, given a step taken from it: the step, its Hessian product, its change."""
    step, bent, change = taken
    squared, curvature = float(gradient @ gradient), float(gradient @ product)
    return GradientCurvature(
        loss=start,
        squared_norm=squared,
        curvature=curvature,
        critical_rate=2 * squared / curvature if curvature > 0 else math.inf,
        learning_rate=learning_rate,
        predicted_change=float(gradient @ step + 0.5 * step @ bent),
        actual_change=change,
    )
