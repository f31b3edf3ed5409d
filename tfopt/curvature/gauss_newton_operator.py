"""gauss_newton_operator: products with the generalised Gauss–Newton matrix of a loss."""

import tensorflow as tf

from tfopt._check import require
from tfopt.curvature._operator import CurvatureOperator, dense, subject_of
from tfopt.repair.stopped_moments import warn_of_stopped_moments


def gauss_newton_operator(
    target, x, y=None, sample_weight=None, *, loss=None, batch_size=None, training=False, jit_compile=False
):
    """The generalised Gauss–Newton matrix as an operator: the Hessian without the curvature of the network.

    With z(θ) the outputs, L(z) the loss of them and J = ∂z/∂θ::

        G = Jᵀ (∂²L/∂z∂zᵀ) J

    Positive semidefinite where L is convex in z, as squared errors and cross-entropies of logits are; equal
    to the Hessian where z is linear in θ or ∂L/∂z vanishes. For cross-entropies of logits it is the Fisher
    matrix. J v is the derivative of vᵀJᵀu with respect to u, so reverse mode is all it takes, at about three
    gradients. No second derivative of the network enters, so no repair of Keras' layers is needed.

    Regularizers and `add_loss` of a model enter with their Hessian, which is exact and, for the usual ones,
    convex too.

    Args:
        target: A built and compiled Keras model, or a function of `x` that returns the outputs, a tensor or a
            nest.
        x: As for `hessian_operator`.
        y: Targets of a model, where `x` is arrays.
        sample_weight: Weights of the samples of a model, where `x` is arrays.
        loss: For a function: the real scalar loss of what it returns.
        batch_size: Samples per batch of arrays; None takes all at once.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the product.

    Returns:
        An operator as `hessian_operator` returns it.

    Raises:
        ValueError: As for `hessian_operator`, or if the loss does not depend on the outputs.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> def residuals(x):
        ...     return tf.stack([x[0] * x[1] - 3.0, x[1] - 1.0])
        >>> G = tfopt.curvature.gauss_newton_operator(
        ...     residuals, tf.constant([1.0, 2.0]), loss=lambda r: tf.reduce_sum(r**2) / 2
        ... )
        >>> (G @ [1.0, 0.0]).tolist()
        [4.0, 2.0]

    Source: Schraudolph, Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent, 2002.
    """
    owner, options = "gauss_newton_operator", {"batch_size": batch_size, "training": training}
    subject = subject_of(owner, target, (x, y, sample_weight), options, loss)
    by_function = subject.model is None
    require(not (by_function and loss is None), owner, "loss", loss, "a scalar function of the outputs")
    return CurvatureOperator(subject, gauss_newton_product, jit_compile)


def gauss_newton_product(subject, sources, batch, direction):
    """G v with respect to each source, and H v of the further losses."""
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(sources)
        with tf.GradientTape(persistent=True) as inner:
            inner.watch(sources)
            outputs, loss, further = subject.parts(sources, *batch)
        slope = inner.gradient(loss, outputs)
        expected = "a loss that depends on the outputs"
        require(any(part is not None for part in slope), subject.owner, "target", subject.name, expected)
        slope = [tf.zeros_like(z) if part is None else part for part, z in zip(slope, outputs, strict=True)]
        probe = [tf.zeros_like(z) for z in outputs]
        outer.watch(probe)
        pulled = _pull(inner, outputs, sources, probe)
        gradient = None if further is None else _pull(inner, [further], sources, None)
    pushed = _pull(outer, pulled, probe, direction)
    bent = _pull(outer, slope, outputs, pushed)
    product = _pull(inner, outputs, sources, bent)
    if gradient is None:
        return product
    if subject.has_activity_losses:
        warn_of_stopped_moments(tf.compat.v1.get_default_graph(), subject.model)
    return [a + b for a, b in zip(product, _pull(outer, gradient, sources, direction), strict=True)]


def _pull(tape, targets, sources, cotangents):
    """Σ cotangents · ∂targets/∂sources, zero where there is no path."""
    found = tape.gradient(targets, sources, output_gradients=cotangents, unconnected_gradients="zero")
    return dense(found)
