"""Sparse coding one number at a time: codes and atoms by coordinate descent, on CPU."""

import tensorflow as tf

from tfopt.kernels._glue import compiled_by_xla
from tfopt.kernels.rows import DTYPES, ops_for

# Multiplications of a pass over the atoms; more are better done as products of matrices, by all threads.
MOST = 1 << 24


def ops_of(dtype):
    """The library's ops where they serve tensors of this type in the graph being traced; None elsewhere."""
    return ops_for() if dtype in DTYPES and not compiled_by_xla() else None


def encode(ops, x, atoms, codes, l1, tolerance, max_passes):
    """Codes of [samples, atoms]; the arguments are those of `tfopt.sparse_coding._codes.encode`."""
    return ops.tfopt_sparse_codes(
        gram=tf.matmul(atoms, atoms, transpose_b=True),
        target=tf.matmul(x, atoms, transpose_b=True),
        squares=tf.reduce_sum(tf.square(x), axis=1),
        start=codes,
        l1=tf.cast(l1, tf.float64),
        tolerance=tf.cast(tolerance, tf.float64),
        passes=max_passes,
    )


def fit_atoms(ops, atoms, codes_by_codes, codes_by_inputs, passes):
    """Atoms, each in turn at its minimum in the unit ball, `passes` times."""
    return ops.tfopt_sparse_atoms(
        codes_by_codes=codes_by_codes, codes_by_inputs=codes_by_inputs, start=atoms, passes=passes
    )


def fits(atoms):
    """Whether `fit_atoms` is the faster way for atoms of this shape, [atoms, features]."""
    count, features = atoms.shape
    return count * count * features <= MOST
