"""One step of the alternation: codes, then atoms; on all samples, or on a minibatch of a stream."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfopt.sparse_coding._atoms import normalised, reseed, update
from tfopt.sparse_coding._codes import ROUNDING, encode

# A statistic of an atom this far below the mean is as good as none.
NEGLIGIBLE = 1e-6


class Dictionary(NamedTuple):
    """Atoms and what they were fitted to.

    Attributes:
        atoms: W, [atoms, features].
        codes_by_codes: A = HHᵀ, [atoms, atoms].
        codes_by_inputs: B = HXᵀ, [atoms, features].
    """

    atoms: tf.Tensor
    codes_by_codes: tf.Tensor
    codes_by_inputs: tf.Tensor


@functools.cache
def traced(function, dtype, n_atoms, features):
    """`function` in a graph for any number of samples; TensorFlow would let the other sizes vary as well."""
    return tf.function(function, autograph=False, reduce_retracing=True)


def cost(residuals, codes, l1):
    """J = Σ residuals² + λ Σ|codes|, summed in float64."""
    squares = tf.reduce_sum(tf.square(tf.cast(residuals, tf.float64)))
    return squares + tf.cast(l1, tf.float64) * tf.reduce_sum(tf.abs(tf.cast(codes, tf.float64)))


def sweep(x, codes, atoms, l1, tolerance, max_passes):
    """Codes for the atoms, then atoms for the codes; no part of it raises the cost.

    Returns:
        The `Dictionary`, the codes, their cost, and the number of atoms that were replaced.
    """
    codes = encode(x, atoms, codes, l1, tolerance, max_passes)
    dictionary, lengths = _fitted(_products(atoms, codes, x))
    codes *= lengths
    # Where two atoms are equal, rounding leaves the second a code that is not quite zero.
    trace = (ROUNDING * np.finfo(x.dtype.as_numpy_dtype).eps) ** 2
    dictionary, kept = _renewed(dictionary, trace, x - tf.matmul(codes, dictionary.atoms), l1)
    codes *= kept
    value = cost(x - tf.matmul(codes, dictionary.atoms), codes, l1)
    return dictionary, codes, value, tf.math.count_nonzero(kept == 0)


def stream_step(x, dictionary, keep, l1, tolerance, max_passes):
    """The same for a minibatch, with past minibatches' products weighed by `keep`.

    Returns:
        The `Dictionary`, and the cost of the minibatch at the atoms before.
    """
    zeros = tf.zeros([tf.shape(x)[0], dictionary.atoms.shape[0]], x.dtype)
    codes = encode(x, dictionary.atoms, zeros, l1, tolerance, max_passes)
    value = cost(x - tf.matmul(codes, dictionary.atoms), codes, l1)
    new = _products(dictionary.atoms, codes, x)
    sums = [keep * old + added for old, added in zip(dictionary[1:], new[1:], strict=True)]
    dictionary, lengths = _fitted(Dictionary(new.atoms, *sums))
    residuals = x - tf.matmul(codes * lengths, dictionary.atoms)
    return _renewed(dictionary, NEGLIGIBLE, residuals, l1)[0], value


def _products(atoms, codes, x):
    by_codes = tf.matmul(codes, codes, transpose_a=True)
    return Dictionary(atoms, by_codes, tf.matmul(codes, x, transpose_a=True))


def _fitted(dictionary):
    """Updated atoms at length 1, and the factors of the codes that keep every reconstruction as it was.

    A shorter atom with greater codes says the same at a higher cost, so the factors, at most 1, lower it.
    """
    atoms, lengths = normalised(update(*dictionary))
    by_codes = dictionary.codes_by_codes * lengths * lengths[:, None]
    return Dictionary(atoms, by_codes, dictionary.codes_by_inputs * lengths[:, None]), lengths


def _renewed(dictionary, negligible, residuals, l1):
    """Let atoms whose codes' squares sum to no more than `negligible` of the mean start anew.

    Returns:
        The `Dictionary`, and 1 for every atom that stays, 0 for those replaced.
    """
    used = tf.linalg.diag_part(dictionary.codes_by_codes)
    dead = used <= negligible * tf.reduce_mean(used)
    atoms, replaced = reseed(dictionary.atoms, dead, residuals, l1)
    kept = tf.cast(~replaced, residuals.dtype)
    by_codes, by_inputs = dictionary[1:]
    return Dictionary(atoms, by_codes * kept * kept[:, None], by_inputs * kept[:, None]), kept
