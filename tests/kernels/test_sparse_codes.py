"""Codes and atoms of sparse coding: the kernels against operations on all samples, and what they refuse."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.kernels import sparse_codes
from tfopt.sparse_coding import _atoms, _codes

L1 = 0.4
DTYPES = ("float32", "float64")


@pytest.fixture
def ops(loaded):
    """The library's ops."""
    return loaded.ops


def problem(dtype, atoms, samples=30, features=12):
    """Samples, atoms and codes to start from, a third of them not zero."""
    rng = np.random.default_rng([atoms, samples])
    dictionary = rng.normal(size=(atoms, features))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    start = rng.normal(size=(samples, atoms)) * (rng.random((samples, atoms)) < 0.3)
    given = rng.normal(size=(samples, features)), dictionary, start
    return [tf.constant(array, dtype) for array in given]


def options(dtype, tolerance=1e-30, passes=3):
    return tf.constant(L1, dtype), tf.constant(tolerance, dtype), tf.constant(passes)


def encoded(given, **limits):
    """The kernel's codes."""
    dtype = given[0].dtype
    return sparse_codes.encode(sparse_codes.ops_of(dtype), *given, *options(dtype, **limits))


def expected(given, **limits):
    """Those of operations on chunks."""
    return _codes.encode_by_operations(*given, *options(given[0].dtype, **limits))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("atoms", [1, 3, 4, 17, 40])
def test_passes_are_those_of_operations_on_all_samples(ops, instructions, dtype, atoms):
    """The same numbers after so few passes: the order of the coordinates is the same."""
    given = problem(dtype, atoms)
    codes = encoded(given)
    assert codes.dtype == dtype
    assert np.any(codes != 0)
    np.testing.assert_allclose(codes, expected(given), atol=2e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("passes", [1, 3, 4, 7])
def test_passes_are_counted_in_threes(ops, passes):
    given = problem("float64", 17)
    np.testing.assert_allclose(encoded(given, passes=passes), expected(given, passes=passes), atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_sample_goes_on_until_its_own_gap_is_small(ops, instructions, dtype):
    x, atoms, _ = given = problem(dtype, 40, samples=200)
    tolerance = 1e-3
    codes, few = (encoded(given, tolerance=tolerance, passes=passes) for passes in (9999, 30))
    target = tf.matmul(atoms, x, transpose_b=True)
    correlations = target - tf.matmul(tf.matmul(atoms, atoms, transpose_b=True), codes, transpose_b=True)
    squares = tf.reduce_sum(x**2, axis=1)
    gap = _codes.duality_gap(correlations, target, tf.transpose(codes), squares, tf.constant(L1, dtype))
    assert np.all(gap <= tolerance * squares * (1 + 1e-3))
    # Who was done by then was left alone.
    done = np.all(codes == few, axis=1)
    assert 0 < done.mean() < 1


def test_the_codes_to_start_from_stay_as_they_are(ops):
    x, atoms, start = problem("float32", 9)
    before = start.numpy()
    encoded((x, atoms, start))
    np.testing.assert_array_equal(start, before)


def test_nan_stays_in_its_sample(ops):
    x, atoms, start = problem("float64", 17)
    broken = tf.tensor_scatter_nd_update(x, [[3, 2]], tf.constant([np.nan], tf.float64))
    whole, codes = (encoded((samples, atoms, start), passes=999) for samples in (x, broken))
    assert np.all(np.isnan(codes[3]))
    others = np.arange(len(x)) != 3
    np.testing.assert_array_equal(codes[others], whole[others])


def test_an_atom_of_length_zero_gets_no_codes(ops):
    x, atoms, start = problem("float32", 9)
    atoms = tf.tensor_scatter_nd_update(atoms, [[4]], tf.zeros([1, 12]))
    codes = encoded((x, atoms, start))
    assert not np.any(codes[:, 4])
    np.testing.assert_allclose(codes, expected((x, atoms, start)), atol=2e-5)


@pytest.mark.parametrize(("samples", "atoms"), [(0, 5), (1, 1), (7, 0)])
def test_nothing_to_do_is_done(ops, samples, atoms):
    given = tf.zeros([samples, 4]), tf.zeros([atoms, 4]), tf.ones([samples, atoms])
    assert encoded(given).shape == (samples, atoms)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5, 16, 33])
def test_atoms_are_those_of_operations_on_rows(ops, instructions, monkeypatch, dtype, count):
    x, atoms, codes = problem(dtype, count, samples=50)
    # One atom has no codes, and stays.
    codes = codes * tf.constant(np.arange(count) != count // 2, dtype)
    products = tf.matmul(codes, codes, transpose_a=True), tf.matmul(codes, x, transpose_a=True)
    found = sparse_codes.fit_atoms(ops, atoms, *products, _atoms.PASSES)
    monkeypatch.setattr(sparse_codes, "MOST", -1)
    expected = _atoms.update(atoms, *products)
    np.testing.assert_allclose(found, expected, atol=1e-4 if dtype == "float32" else 1e-11)
    np.testing.assert_array_equal(found[count // 2], atoms[count // 2])
    assert np.linalg.norm(found, axis=1).max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gram", {"gram": (3, 4)}),
        ("target", {"target": (5, 4)}),
        ("target", {"target": (3,)}),
        ("squares", {"squares": (4,)}),
        ("start", {"start": (5, 2)}),
    ],
)
def test_shapes_that_do_not_fit_are_named(ops, name, changes):
    shapes = {"gram": (3, 3), "target": (5, 3), "squares": (5,), "start": (5, 3)} | changes
    given = {key: tf.ones(shape) for key, shape in shapes.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\({name}\): expected"):
        ops.tfopt_sparse_codes(**given, l1=1.0, tolerance=1e-3, passes=3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("codes_by_codes", {"codes_by_codes": (2, 3)}),
        ("codes_by_inputs", {"codes_by_inputs": (2, 4)}),
        ("start", {"start": (3, 5)}),
    ],
)
def test_shapes_of_atoms_that_do_not_fit_are_named(ops, name, changes):
    shapes = {"codes_by_codes": (3, 3), "codes_by_inputs": (3, 4), "start": (3, 4)} | changes
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\({name}\): expected"):
        ops.tfopt_sparse_atoms(**{key: tf.ones(shape) for key, shape in shapes.items()}, passes=1)


def test_operations_serve_where_kernels_do_not(ops, monkeypatch):
    assert sparse_codes.ops_of(tf.float32) is not None
    assert sparse_codes.ops_of(tf.bfloat16) is None
    seen = []
    compiled = tf.function(lambda: seen.append(sparse_codes.ops_of(tf.float32)), jit_compile=True)
    compiled()
    assert seen == [None]
    monkeypatch.setenv("TFOPT_KERNELS", "off")
    assert sparse_codes.ops_of(tf.float32) is None
