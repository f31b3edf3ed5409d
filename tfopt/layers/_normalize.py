"""Normalise, scale and shift in one differentiable step, with the chapter's backward pass.

`forward` and `backward` are plain functions of tensors that know nothing of layers or tapes; a fused kernel
takes their place where there is one.
"""

import tensorflow as tf

from tfopt.layers._fused import fused
from tfopt.layers._statistics import statistics, sum_over


def normalize(x, gamma, beta, region, epsilon, fuse=False):
    """y = γ (x − μ)/√(σ² + ε) + β with the statistics of a region of x; elements left out come out as β.

    Only x, γ, β and the statistics are kept for the backward pass. Derivatives of every order are right.

    Args:
        x: The input, of any floating dtype; half precision is computed in float32.
        gamma: γ, of the rank of x, broadcastable to it, in the dtype of ``wide(x)``.
        beta: β likewise.
        region: The `Region` of the statistics.
        epsilon: ε >= 0.
        fuse: Whether a fused kernel may do it; derivatives of the second and further orders are the same.

    Returns:
        y in the dtype of x, and the `Statistics`, through which no derivative passes.
    """
    kernel = fused(x, gamma, beta, region, epsilon) if fuse else None
    if kernel is None:
        measured = statistics(wide(_still(x)), region)
    else:
        y, measured = kernel.forward(_still(x), _still(gamma), _still(beta))

    @tf.custom_gradient
    def normalized(x, gamma, beta):
        def gradients(upstream):
            return _gradients(x, gamma, beta, upstream, region, epsilon, measured, kernel)

        if kernel is None:
            return forward(_still(x), _still(gamma), _still(beta), region, epsilon, measured), gradients
        return y, gradients

    return normalized(x, gamma, beta), measured


def _gradients(x, gamma, beta, upstream, region, epsilon, measured, kernel):
    """The first derivatives, from the statistics of the forward pass; themselves differentiable.

    Their derivative takes the statistics anew from x, so that it sees how they depend on it. Of a loop each
    order of derivative is computed in a graph of its own, which may read the one before it alone: identities
    bring what the next one needs into this one.
    """
    region = region.here()

    @tf.custom_gradient
    def first(x, gamma, upstream):
        def second(*directions):
            return backward_of_backward(x, gamma, upstream, directions, region, epsilon)

        still = _still(x), _still(gamma), _still(upstream), beta.shape
        if kernel is None:
            return backward(*still, region, epsilon, measured), second
        return kernel.backward(*still, measured), second

    return first(tf.identity(x), tf.identity(gamma), upstream)


def _still(x):
    """`x` for operations that no tape or forward accumulator is to see, or keep anything for."""
    return tf.stop_gradient(x)


def wide(x):
    """`x` in the dtype that normalisation computes in: float32, or float64 where x is."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x


def forward(x, gamma, beta, region, epsilon, measured):
    """γ (x − μ)/√(σ² + ε) + β in the dtype of x, from the statistics."""
    inverse = region.spread(tf.math.rsqrt(measured.variance + epsilon), x)
    centred = wide(x) - region.spread(measured.mean, x)
    return tf.cast(region.keep(centred * (inverse * gamma)) + beta, x.dtype)


def backward(x, gamma, upstream, beta_shape, region, epsilon, measured):
    """Gradients with respect to x, γ and β, by the formulas of the chapter's sections 10.1.3 and 10.2.1.

    With x̂ the normalised input, h the gradient with respect to it, and sums over the region::

        ∇β = Σ ∇y      ∇γ = Σ ∇y x̂      h = γ ∇y      ∇x = (h − Σh/n − x̂ Σ(h x̂)/n) / √(σ² + ε)

    The last is the chapter's ∇x with its ∇μ and ∇σ² put in. Sums for γ and β are over the axes along which
    they are broadcast, and of this replica alone. All four sums start with the axes that they share, so that
    only two pass over the whole.
    """
    g = wide(upstream)
    inverse = tf.math.rsqrt(measured.variance + epsilon)
    centred = region.keep(wide(x) - region.spread(measured.mean, x))
    shared = [axis for axis in region.axes if gamma.shape[axis] == beta_shape[axis] == 1]
    plain = sum_over(region.keep(g), shared)
    normal = sum_over(g * centred, shared) * inverse
    by_beta = _sum_to(plain if region.mask is None else g, beta_shape)
    h_sum, h_normal_sum = region.sums(gamma * plain, gamma * normal)
    share = 1.0 / tf.maximum(measured.count, 1.0)
    common = region.spread(inverse * h_sum * share, x)
    slope = region.spread(tf.square(inverse) * h_normal_sum * share, x)
    by_x = region.keep(g * (gamma * region.spread(inverse, x)) - (centred * slope + common))
    return tf.cast(by_x, x.dtype), _sum_to(normal, gamma.shape), by_beta


def backward_of_backward(x, gamma, upstream, directions, region, epsilon):
    """Gradients of ⟨a, ∇x⟩ + ⟨b, ∇γ⟩ + ⟨c, ∇β⟩ with respect to x, γ and ∇y, for given directions a, b, c.

    With J p = (p − Σp/n − x̂ Σ(p x̂)/n)/σ, the derivative of x̂ along p, which is symmetric, and h = γ ∇y::

        by ∇y:  γ J a + b x̂ + c          by γ:  Σ ∇y J a
        by x:   J(b ∇y) − (x̂ Σ(h J a) + J h Σ(a x̂) + J a Σ(h x̂)) / (n σ)

    All of it, the statistics too, is made of operations on x, γ, ∇y and the directions: further derivatives
    are those of the formulas.
    """
    g = wide(upstream)
    measured = statistics(wide(x), region)
    inverse = tf.math.rsqrt(measured.variance + epsilon)
    share = 1.0 / tf.maximum(measured.count, 1.0)
    normal = region.keep((wide(x) - measured.mean) * inverse)

    def along(p):
        p_sum, p_normal_sum = region.sums(p, p * normal)
        return region.keep(inverse * (p - p_sum * share - normal * (p_normal_sum * share)))

    a, h = region.keep(wide(directions[0])), region.keep(gamma * g)
    b, c = directions[1:]
    tangent = along(a)
    h_tangent, a_normal, h_normal = region.sums(h * tangent, a * normal, h * normal)
    bend = normal * h_tangent + along(h) * a_normal + tangent * h_normal
    by_x = along(region.keep(b * g)) - (inverse * share) * bend
    by_upstream = gamma * tangent + b * normal + c
    return tf.cast(by_x, x.dtype), _sum_to(g * tangent, gamma.shape), tf.cast(by_upstream, upstream.dtype)


def _sum_to(x, shape):
    """`x` summed over the axes along which a tensor of this shape, of the same rank, is broadcast to it."""
    return sum_over(x, [axis for axis, length in enumerate(shape) if length == 1])
