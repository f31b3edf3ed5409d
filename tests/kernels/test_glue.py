"""Guards of the private parts that tfopt/kernels/_glue.py stands on."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.kernels import _glue


@pytest.mark.parametrize("sizes", [(5,), (1, 1), (3, 1, 4)])
def test_copied_behind_one_another_is_a_concatenation(sizes):
    parts = [tf.random.normal([size]) for size in sizes]
    compiled = tf.function(_glue.copied_behind_one_another, jit_compile=True, autograph=False)
    np.testing.assert_array_equal(compiled(parts), tf.concat(parts, axis=0))


def test_compiled_by_xla_knows_the_graphs_within():
    seen = []

    def branch():
        seen.append(_glue.compiled_by_xla())
        return 1.0

    def step():
        return tf.cond(tf.constant(True), branch, lambda: 2.0)

    for compiled in (False, True):
        tf.function(step, jit_compile=compiled, autograph=False)()
    assert seen == [False, True]
