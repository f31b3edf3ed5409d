"""hessian_operator: products with the Hessian of a loss."""

import tensorflow as tf

from tfopt.curvature._operator import CurvatureOperator, dense, gradient_product, subject_of
from tfopt.repair.stopped_moments import warn_of_stopped_moments


def hessian_operator(
    target, x, y=None, sample_weight=None, *, batch_size=None, training=False, jit_compile=False
):
    """The Hessian of a loss as an operator: exact products H v, in memory proportional to n.

    H = ∂²J/∂θ∂θᵀ, and H v = ∂(gᵀv)/∂θ with g = ∂J/∂θ and v constant: one differentiation of the gradient, at
    the cost of about two gradients. For a Keras model J is what `compile` and `add_loss` make of the data and
    θ its trainable weights; for a function J is ``target(x)`` and θ is `x`.

    The batches of a model give what one batch of all samples gives, a shorter last one included: a mean
    loss counts by samples, a sum as it is, ``mean_with_sample_weight`` by weights, regularizers once. A
    masked loss, itself a mean over each batch's valid entries, counts by samples as in `evaluate`. The
    model's moving statistics, seeds and metrics are left as they were, so each product with
    ``training=True`` sees the same dropout masks. Keras computes the built-in losses in float32 unless they
    are made with ``dtype="float64"``.

    Warns once where a normalisation layer of Keras makes second derivatives wrong; see `tfopt.repair_keras`.

    Args:
        target: A built and compiled Keras model, or a function of `x` that returns a real scalar.
        x: For a model its inputs: arrays, or a finite `tf.data.Dataset` or `keras.utils.PyDataset` of
            (x, y[, sample_weight]) batches, read once per product. For a function its argument: a tensor, a
            variable or a nest of them.
        y: Targets, where `x` is arrays.
        sample_weight: Weights of the samples, where `x` is arrays.
        batch_size: Samples per batch of arrays; None takes all at once.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the product. XLA lacks max pooling's second derivative in float64.

    Returns:
        An operator with ``shape``, ``dtype``, ``@``, ``matvec(vector)``, ``gradient()``, ``flatten(nest)``
        and ``nest(vector)``; vectors are NumPy arrays over the weights in their order, curvatures in units of
        the loss per squared unit of the weights. Products are taken at the values that the weights hold then.

    Raises:
        ValueError: If the model is not built, not compiled or has no trainable weights, an argument lies
            outside its range, or the data have no end.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> H = tfopt.curvature.hessian_operator(lambda x: x[0] ** 2 * x[1], tf.constant([1.0, 3.0]))
        >>> H.shape, (H @ [1.0, 0.0]).tolist()
        ((2, 2), [6.0, 2.0])

    Source: Pearlmutter, Fast Exact Multiplication by the Hessian, 1994; chapter sections 2.1 to 2.3.
    """
    options = {"batch_size": batch_size, "training": training}
    subject = subject_of("hessian_operator", target, (x, y, sample_weight), options)
    return CurvatureOperator(subject, hessian_product, jit_compile)


def hessian_product(subject, sources, batch, direction):
    """H v with respect to each source."""
    with tf.GradientTape() as tape:
        tape.watch(sources)
        gradient = gradient_product(subject, sources, batch, None)
    warn_of_stopped_moments(tf.compat.v1.get_default_graph(), subject.model)
    parts = tape.gradient(gradient, sources, output_gradients=direction, unconnected_gradients="zero")
    return dense(parts)
