"""The norms of a list of gradients: every type, size and instruction set; what they refuse."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfopt.kernels import global_norm

DTYPES = (tf.float32, tf.float64, tf.float16, tf.bfloat16)
SHAPES = [(), (0,), (1,), (15,), (16,), (17,), (3, 0, 2), (1023,), (1025,), (65_535,), (65_537,), (300, 700)]


@pytest.fixture
def norms(loaded):
    """norms(gradients, accumulators): of all, and of each."""
    ops = loaded.kernels["adam"].ops
    return lambda gradients, accumulators=(): global_norm.norms(ops, gradients, accumulators)


def draw(dtype, shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [tf.cast(rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3), dtype) for shape in shapes]


def exact(gradient):
    """By exact summation in rational arithmetic's place."""
    return math.sqrt(math.fsum(float(x) ** 2 for x in np.ravel(tf.cast(gradient, tf.float64).numpy())))


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_are_exact_but_for_rounding(norms, instructions, dtype):
    gradients = draw(dtype)
    of_all, of_each = norms(gradients)
    expected = [exact(g) for g in gradients]
    np.testing.assert_allclose(of_each, expected, rtol=1e-13)
    np.testing.assert_allclose(of_all, math.hypot(*expected), rtol=1e-13)


def test_types_may_be_mixed(norms):
    gradients = [g for row in zip(*(draw(dtype, SHAPES[:6]) for dtype in DTYPES), strict=True) for g in row]
    of_all, of_each = norms(gradients)
    expected = [exact(g) for g in gradients]
    np.testing.assert_allclose(of_each, expected, rtol=1e-13)
    np.testing.assert_allclose(of_all, math.hypot(*expected), rtol=1e-13)


def test_float32_is_summed_alike_by_every_instruction_set_and_number_of_threads(norms, native):
    gradients = draw(tf.float32, [(1_000_003,), (70_001,), (5,)])
    whole = norms(gradients)[0].numpy()
    alone = [norms([g])[0].numpy() for g in gradients]
    np.testing.assert_array_equal(alone, norms(gradients)[1])
    before = native.tfopt_instructions()
    for name in (b"baseline", b"avx2", b"avx512"):
        if native.tfopt_use_instructions(name):
            assert {norms(gradients)[0].numpy() for _ in range(5)} == {whole}
    native.tfopt_use_instructions(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 500, 70_000])
def test_one_element_that_is_not_finite_shows(norms, dtype, bad, place):
    spoilt = np.full(70_001, 1.0)
    spoilt[place] = bad
    of_all, of_each = norms([tf.ones(3, dtype), tf.cast(spoilt, dtype)])
    assert not np.isfinite(of_all)
    assert np.isfinite(of_each).tolist() == [True, False]
    assert np.isnan(of_all) == np.isnan(bad)


@pytest.mark.parametrize(("dtype", "large"), [(tf.float32, 3e38), (tf.float64, 1e300), (tf.float64, 1e150)])
def test_large_elements_do_not_overflow(norms, dtype, large):
    gradient = tf.constant([large, 1.0, -large, 0.0], dtype)
    np.testing.assert_allclose(norms([gradient])[0], float(gradient[0]) * math.sqrt(2), rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_xlas_own_operations_compute_the_same(norms, portably, dtype):
    gradients = draw(dtype)
    compiled = portably(lambda: tf.function(norms, jit_compile=True)(gradients))
    for found, expected in zip(compiled, norms(gradients), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("large", [1e300, 1e-300, 1.0])
@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_in_xlas_own_operations_doubles_do_not_overflow(norms, portably, large, bad):
    gradients = [tf.constant([large, 0.0, -large], tf.float64), tf.zeros(3, tf.float64)]
    expected = [large * math.sqrt(2), 0.0]
    if bad is not None:
        gradients.append(tf.constant([1.0, bad], tf.float64))
        expected.append(bad)
    of_all, of_each = portably(lambda: tf.function(norms, jit_compile=True)(gradients))
    np.testing.assert_allclose(of_each, expected, rtol=1e-14)
    np.testing.assert_allclose(of_all, sum(expected), rtol=1e-14)


def rows_of(indices, dtype, shape, seed=0):
    values = draw(dtype, [(len(indices), *shape[1:])], seed)[0]
    return tf.IndexedSlices(values, tf.constant(indices, tf.int64), shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("indices", [[], [3], [4, 0, 4, 2, 4], list(range(5)) * 3])
@pytest.mark.parametrize("accumulated", [False, True])
def test_rows_count_once_with_what_belongs_together_added(norms, instructions, dtype, indices, accumulated):
    gradient = rows_of(indices, dtype, (5, 700))
    wide = tf.float64 if dtype == tf.float64 else tf.float32
    whole = tf.math.unsorted_segment_sum(tf.cast(gradient.values, wide), gradient.indices, 5)
    accumulators = [tf.Variable(draw(wide, [(5, 700)], seed=1)[0])] if accumulated else []
    expected = exact(whole + accumulators[0] if accumulated else whole)
    np.testing.assert_allclose(norms([gradient], accumulators)[0], expected, rtol=1e-13)
    if accumulated:
        np.testing.assert_array_equal(accumulators[0], draw(wide, [(5, 700)], seed=1)[0])


def test_far_apart_rows_cost_nothing(norms):
    """Without accumulators nobody knows how many rows the variable has."""
    gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([-(2**63), 2**63 - 1], tf.int64))
    assert norms([gradient])[0] == 2.0


SPOILT = {
    "accumulator's shape": lambda: dict(accumulators=[tf.ones(3), tf.ones(6)]),
    "accumulator's type": lambda: dict(accumulators=[tf.ones(3), tf.ones(5, tf.float64)]),
    "one accumulator": lambda: dict(accumulators=[tf.ones(3)]),
    "half gradients' accumulators": lambda: dict(
        gradients=[tf.ones(3, tf.float16)] * 2, accumulators=[tf.ones(3, tf.float16)] * 2
    ),
    "row outside": lambda: dict(rows=[[0, 5]], sparse=[1], gradients=[tf.ones(3), tf.ones(2)]),
    "row below 0": lambda: dict(rows=[[0, -1]], sparse=[1], gradients=[tf.ones(3), tf.ones(2)]),
    "few rows": lambda: dict(rows=[[0]], sparse=[1], gradients=[tf.ones(3), tf.ones(2)], accumulators=[]),
    "rows of a scalar": lambda: dict(
        rows=[[0]], sparse=[0], gradients=[tf.ones(()), tf.ones(5)], accumulators=[]
    ),
    "rows in a wrong place": lambda: dict(rows=[[0, 1, 2]], sparse=[2], accumulators=[]),
    "no gradients": lambda: dict(gradients=[], accumulators=[]),
    "mixed types": lambda: dict(gradients=[tf.ones(3), tf.ones(5, tf.float64)], accumulators=[]),
}


def good():
    return dict(gradients=[tf.ones(3), tf.ones(5)], accumulators=[tf.ones(3), tf.ones(5)])


def call(op, held, gradients, rows=(), sparse=()):
    indices = [tf.constant(r, tf.int64) for r in rows]
    return op(accumulators=[v.handle for v in held], gradients=gradients, rows=indices, sparse=list(sparse))


@pytest.mark.parametrize("how", [None, *SPOILT])
@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_bad_input_is_refused(loaded, how, wrap):
    arguments = good() | (SPOILT[how]() if how else {})
    held = [tf.Variable(a) for a in arguments.pop("accumulators")]
    norm = wrap(lambda: call(loaded.kernels["adam"].ops.tfopt_global_norm, held, **arguments))
    if how is None:
        np.testing.assert_allclose(norm()[0], math.sqrt(32))
        return
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError, TypeError)):
        norm()
