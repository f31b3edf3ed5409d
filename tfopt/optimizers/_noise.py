"""Random numbers that are functions of a key: equal on every replica, and after a run has been resumed.

All are made of whole numbers: TensorFlow's own real ones, of one key and one algorithm, are others where XLA
compiles.
"""

import math
import random

import tensorflow as tf

from tfopt._check import require, require_integer
from tfopt.optimizers._machine import Slot

LARGEST_SEED = 2**31 - 1


def require_seed(owner, seed):
    """Require None or an integer that fits a seed."""
    if seed is not None:
        require_integer(owner, 0, seed=seed)
        require(seed <= LARGEST_SEED, owner, "seed", seed, f"an integer with seed <= {LARGEST_SEED}")


def seed_slot(seed):
    """The slot that holds `seed`, or one drawn from Python's generator, as Keras' layers draw theirs.

    State, so that all workers of a run share the first one's, and a resumed run has that of the first.
    """
    return Slot("seed", random.randint(0, LARGEST_SEED) if seed is None else seed, scalar=True)


def key_of(state, *counts):
    """A key made of the seed in `state` and of counts, which are float64 scalars or Python numbers."""
    key = tf.stack([tf.cast(state["seed"], tf.int32), tf.constant(0)])
    for count in counts:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(count, tf.int32), alg="philox")
    return key


def normal(shape, dtype, key):
    """Standard normal numbers in float32 or float64, by the inverse of their distribution function."""
    uniform = _uniform(shape, dtype, key)
    return math.sqrt(2.0) * tf.math.erfinv(2.0 * uniform - 1.0)


def index_below(count, key):
    """One of 0 … count − 1, as a float64 scalar."""
    return tf.floor(_uniform((), tf.float64, key) * count)


def _uniform(shape, dtype, key):
    """Uniform numbers, odd multiples of half a step: never 0 nor 1."""
    whole, unused, step = {
        tf.float32: (tf.uint32, 9, 2.0**-23),
        tf.float64: (tf.uint64, 12, 2.0**-52),
    }[dtype]
    bits = tf.random.stateless_uniform(shape, key, minval=None, maxval=None, dtype=whole, alg="philox")
    return (tf.cast(tf.bitwise.right_shift(bits, tf.constant(unused, whole)), dtype) + 0.5) * step
