"""The block of the codes: for each sample a lasso problem, by coordinate descent on the Gram matrix."""

import numpy as np
import tensorflow as tf

from tfopt.kernels import sparse_codes
from tfopt.sparse_coding._rows import cycle, padded

# Samples solved together: they stay in the cache, and share the number of passes.
CHUNK = 512
# Passes between two looks at the duality gap, which costs about as much as a pass.
PASSES = 3
# What rounding leaves of the gap, in units of ‖x‖² and of the dtype's precision.
ROUNDING = 64


def encode(x, atoms, codes, l1, tolerance, max_passes):
    """Codes H that minimise ‖x − Wᵀh‖² + λ‖h‖₁ for each sample x.

    With G = WWᵀ and α = λ/2 coordinate k of a code becomes sign(q) max(|q| − α, 0) / Gₖₖ, where
    q = wₖᵀx − Σ_{j≠k} Gₖⱼhⱼ. The dual point s(x − Wᵀh), s = min(1, α / max|W(x − Wᵀh)|), bounds from below
    what can be reached; passes end when a sample, without kernels all of a chunk, is no farther above it than
    `tolerance` ‖x‖².

    Args:
        x: [samples, features].
        atoms: W, [atoms, features]; rows of zeros get codes of zero.
        codes: Hᵀ to start from, [samples, atoms].
        l1: λ, a scalar of x's dtype.
        tolerance: Largest duality gap in units of ‖x‖²; rounding may ask for a larger one.
        max_passes: Passes over the coordinates at most, rounded up to a multiple of 3.

    Returns:
        Codes, [samples, atoms].
    """
    ops = sparse_codes.ops_of(x.dtype)
    if ops is None:
        return encode_by_operations(x, atoms, codes, l1, tolerance, max_passes)
    return sparse_codes.encode(ops, x, atoms, codes, l1, _reachable(tolerance, x.dtype), max_passes)


def encode_by_operations(x, atoms, codes, l1, tolerance, max_passes):
    """The same from TensorFlow's own operations on whole chunks of samples."""
    tolerance = _reachable(tolerance, x.dtype)
    count = tf.shape(x)[0]
    wide = padded(atoms)
    gram = tf.matmul(wide, wide, transpose_b=True)

    def solve(chunk):
        samples, start = chunk
        found = _descend(samples, wide, gram, padded(tf.transpose(start)), l1, tolerance, max_passes)
        return tf.transpose(found[: atoms.shape[0]])

    chunks = (_chunks(x, count), _chunks(codes, count))
    signature = tf.TensorSpec([None, atoms.shape[0]], x.dtype)
    found = tf.map_fn(solve, chunks, fn_output_signature=signature)
    found = tf.reshape(found, [-1, atoms.shape[0]])[:count]
    return tf.ensure_shape(found, [x.shape[0], atoms.shape[0]])


def _reachable(tolerance, dtype):
    return tf.maximum(tf.cast(tolerance, dtype), ROUNDING * np.finfo(dtype.as_numpy_dtype).eps)


def _chunks(matrix, count):
    """Rows in chunks of equal size, the last filled up with zeros: [chunks, rows, columns]."""
    size = tf.clip_by_value(count, 1, CHUNK)
    filled = tf.pad(matrix, [[0, -count % size], [0, 0]])
    return tf.reshape(filled, [-1, size, matrix.shape[1]])


def _descend(x, atoms, gram, codes, l1, tolerance, max_passes):
    """Passes over one chunk until the gap is small; codes are [atoms, samples] here."""
    alpha = l1 / 2
    target = tf.matmul(atoms, x, transpose_b=True)
    squares = tf.reduce_sum(tf.square(x), axis=1)

    def shrink(value, diagonal, _):
        return tf.math.divide_no_nan(tf.sign(value) * tf.nn.relu(tf.abs(value) - alpha), diagonal)

    def goes_on(passes, codes, worst):
        return (passes < max_passes) & (worst > 0)

    def descend(passes, codes, worst):
        codes = cycle(gram, target, codes, shrink, PASSES)
        gap = duality_gap(target - tf.matmul(gram, codes), target, codes, squares, l1)
        return passes + PASSES, codes, tf.reduce_max(gap - tolerance * squares)

    start = (tf.constant(0), codes, tf.ones([], x.dtype))
    return tf.while_loop(goes_on, descend, start)[1]


def duality_gap(correlations, target, codes, squares, l1):
    """How far each sample's cost may lie above its least, [samples].

    With r = x − Wᵀh and q = Wr the gap is (1 − s)²‖r‖² + λ‖h‖₁ − 2s qᵀh, a sum without cancellation.

    Args:
        correlations: q, [atoms, samples].
        target: Wx, [atoms, samples].
        codes: h, [atoms, samples].
        squares: ‖x‖², [samples].
        l1: λ.
    """
    residual = tf.nn.relu(squares - tf.reduce_sum((target + correlations) * codes, axis=0))
    largest = tf.reduce_max(tf.abs(correlations), axis=0)
    scale = l1 / tf.maximum(l1, 2 * largest)
    return tf.square(1 - scale) * residual + tf.reduce_sum(
        l1 * tf.abs(codes) - 2 * scale * correlations * codes, axis=0
    )
