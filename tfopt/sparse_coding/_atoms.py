"""The block of the atoms: least squares in the unit ball, atom by atom, from products of the codes."""

import tensorflow as tf

from tfopt.kernels import sparse_codes
from tfopt.sparse_coding._rows import cycle, padded

# They cost little: products of the codes stand for all samples.
PASSES = 5


def update(atoms, codes_by_codes, codes_by_inputs):
    """Atoms W that lower Σ(X − WᵀH)² for the codes H, each in turn at its minimum with ‖wₖ‖ ≤ 1.

    With A = HHᵀ and B = HXᵀ atom k becomes (bₖ − Σ_{j≠k} Aₖⱼwⱼ) / Aₖₖ, brought back to length 1 where it is
    longer. Atoms of no code stay.

    Args:
        atoms: W, [atoms, features].
        codes_by_codes: A, [atoms, atoms].
        codes_by_inputs: B, [atoms, features].
    """
    ops = sparse_codes.ops_of(atoms.dtype)
    if ops is not None and sparse_codes.fits(atoms):
        return sparse_codes.fit_atoms(ops, atoms, codes_by_codes, codes_by_inputs, PASSES)
    square = tf.transpose(padded(tf.transpose(padded(codes_by_codes))))

    def solve(value, diagonal, old):
        free = tf.math.divide_no_nan(value, diagonal)
        return tf.where(diagonal > 0, free / tf.maximum(tf.norm(free), 1), old)

    return cycle(square, padded(codes_by_inputs), padded(atoms), solve, PASSES)[: atoms.shape[0]]


def normalised(rows):
    """Each row divided by its length, and the lengths; rows of zeros stay zero."""
    lengths = tf.norm(rows, axis=1)
    return tf.math.divide_no_nan(rows, lengths[:, None]), lengths


def reseed(atoms, dead, residuals, l1):
    """Let atoms that no sample uses point where the worst represented samples' residuals do.

    While its codes are zero an atom has no part in the cost, so any other may stand in its place. A residual
    r is the direction in which the cost of its sample falls fastest, and falls at all where 2‖r‖ > λ.

    Args:
        atoms: W, [atoms, features].
        dead: Which atoms to replace, booleans of [atoms].
        residuals: X − WᵀH with samples as rows, [samples, features].
        l1: λ.

    Returns:
        The atoms, and which were replaced.
    """
    directions, lengths = normalised(residuals)
    count = tf.minimum(tf.shape(residuals)[0], atoms.shape[0])
    worst, samples = tf.math.top_k(lengths, count)
    turn = tf.cumsum(tf.cast(dead, tf.int32), exclusive=True)
    place = tf.minimum(turn, count - 1)
    replaced = dead & (turn < count) & (2 * tf.gather(worst, place) > l1)
    chosen = tf.gather(directions, tf.gather(samples, place))
    return tf.where(replaced[:, None], chosen, atoms), replaced
