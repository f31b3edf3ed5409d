"""Cyclic coordinate descent over the rows of a matrix, all columns at once."""

import tensorflow as tf

# Rows between two matrix products. Within a block only its own rows' changes have to be kept up with.
BLOCK = 16


def padded(rows):
    """`rows` with rows of zeros up to whole blocks."""
    return tf.pad(rows, [[0, -rows.shape[0] % BLOCK], [0, 0]])


def cycle(matrix, right, rows, solve, passes):
    """Solve for one row after the other, the others held, `passes` times from the first to the last.

    Minimises a function whose smooth part is ½ tr(RᵀMR) − tr(RᵀC) by::

        rₖ ← solve(cₖ − Σ_{j≠k} Mₖⱼ rⱼ, Mₖₖ, rₖ)

    which is the exact minimiser over row k. The sums are taken block by block as matrix products, in the same
    order of rows as one at a time.

    Args:
        matrix: M, symmetric, [rows, rows]; the number of rows is a multiple of `BLOCK`.
        right: C, [rows, columns].
        rows: R, [rows, columns].
        solve: ``solve(value, diagonal, old)``, the new row of [columns]; `diagonal` is a scalar.
        passes: Number of passes, a Python integer.

    Returns:
        The new rows.
    """
    blocks = matrix.shape[0] // BLOCK
    stacked = [blocks, BLOCK, tf.shape(rows)[1]]
    strips = tf.reshape(matrix, [blocks, BLOCK, blocks * BLOCK])
    targets = tf.reshape(right, stacked)

    def visit(count, rows):
        block = count % blocks
        flat = tf.reshape(rows, [blocks * BLOCK, stacked[2]])
        strip = tf.gather(strips, block)
        missing = tf.gather(targets, block) - tf.matmul(strip, flat)
        square = tf.slice(strip, [0, block * BLOCK], [BLOCK, BLOCK])
        new = _solve_block(square, missing, tf.gather(rows, block), solve)
        return count + 1, tf.tensor_scatter_nd_update(rows, [[block]], new[None])

    _, found = tf.while_loop(
        lambda count, rows: count < passes * blocks, visit, (tf.constant(0), tf.reshape(rows, stacked))
    )
    return tf.ensure_shape(tf.reshape(found, [blocks * BLOCK, stacked[2]]), rows.shape)


def _solve_block(square, missing, rows, solve):
    """The rows of one block in turn; `missing` is C − MR of the block before any of them moved."""
    solved = []
    for k in range(BLOCK):
        diagonal = square[k, k]
        solved.append(solve(missing[0] + diagonal * rows[k], diagonal, rows[k]))
        missing = missing[1:] - square[k + 1 :, k, None] * (solved[k] - rows[k])
    return tf.stack(solved)
