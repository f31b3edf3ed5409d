"""The stored order: a uniform permutation of exactly the given elements, the same at every pass."""

import collections
import json

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tfopt.data import shuffled

pytest.importorskip("tensorflow_datasets")

N = 3000
Pair = collections.namedtuple("Pair", "left right")


def order(dataset):
    return np.array([int(element) for element in dataset.batch(500).unbatch()])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stored")
    return directory, shuffled(tf.data.Dataset.range(N), directory, seed=7, shards=3)


@pytest.fixture(scope="module")
def first_order(stored):
    return order(stored[1])


def chi_square(a, b, blocks=6):
    """Measure how far the blocks that two orders put the elements into are from independent ones."""
    table, _, _ = np.histogram2d(np.argsort(a), np.argsort(b), bins=blocks)
    expected = len(a) / blocks**2
    return ((table - expected) ** 2 / expected).sum()


def test_is_a_permutation_and_stays_the_same(stored, first_order):
    np.testing.assert_array_equal(np.sort(first_order), np.arange(N))
    np.testing.assert_array_equal(order(stored[1]), first_order)
    assert int(stored[1].cardinality()) == N
    assert len(list(stored[0].rglob("*tfrecord*"))) == 3


def test_every_element_may_go_anywhere(first_order):
    """25 degrees of freedom: the statistic lies in (8, 55) but for about one seed in a thousand."""
    assert 8 < chi_square(np.arange(N), first_order) < 55


def test_neighbours_are_parted(first_order):
    """Of a uniform permutation about one neighbour pair stays together, and half of all pairs turn around."""
    steps = np.diff(np.argsort(first_order))
    assert (abs(steps) == 1).sum() <= 9
    assert abs((steps > 0).mean() - 0.5) < 4 * np.sqrt(1 / (12 * N))
    # The mean distance of two random places is n/3.
    assert np.abs(steps).mean() == pytest.approx(N / 3, rel=0.06)


def test_seeds_give_independent_orders(first_order, tmp_path):
    other = order(shuffled(tf.data.Dataset.range(N), tmp_path, seed=8))
    assert 8 < chi_square(first_order, other) < 55


@pytest.mark.slow
def test_small_sets_reach_every_order(tmp_path):
    """30 seeds for 3! orders: each expected five times, chi-square with 5 degrees of freedom."""
    source = tf.data.Dataset.range(3)
    seen = collections.Counter(
        tuple(int(i) for i in shuffled(source, tmp_path / str(seed), seed=seed)) for seed in range(30)
    )
    assert len(seen) == 6
    assert sum((count - 5) ** 2 / 5 for count in seen.values()) < 15


def test_order_does_not_depend_on_what_fits_into_memory(first_order, tmp_path, monkeypatch):
    shuffle = pytest.importorskip("tensorflow_datasets.core.shuffle")
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1000)
    through_buckets = shuffled(tf.data.Dataset.range(N), tmp_path, seed=7)
    np.testing.assert_array_equal(order(through_buckets), first_order)


def test_elements_of_every_dtype_and_shape_come_back():
    def element(i):
        number = tf.cast(i, tf.float32)
        return {
            "numbers": (tf.cast(number * tf.ones((2, 3)), tf.bfloat16), tf.cast(number, tf.float16)),
            "flags": Pair(i % 2 == 0, tf.cast(i, tf.uint8)),
            "text": tf.strings.join([tf.strings.as_string(i), "\x00é"]),
            "varying": tf.range(i % 4),
            "complex": tf.complex(number, -number),
            "index": i,
        }

    source = tf.data.Dataset.range(40).map(element)
    result = shuffled(source, seed=2)
    assert result.element_spec == source.element_spec
    wanted = {int(e["index"]): e for e in source}
    seen = list(result)
    assert sorted(int(e["index"]) for e in seen) == list(range(40))
    assert seen[0]["numbers"][0].numpy().dtype == ml_dtypes.bfloat16
    for e in seen:
        pairs = zip(tf.nest.flatten(e), tf.nest.flatten(wanted[int(e["index"])]), strict=True)
        assert all(a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


@pytest.mark.parametrize("structure", [lambda i: (i,), lambda i: (i, -i), lambda i: {"a": i}])
def test_structures_survive(structure):
    source = tf.data.Dataset.range(5).map(structure)
    result = shuffled(source)
    assert result.element_spec == source.element_spec
    assert sorted(int(tf.nest.flatten(e)[0]) for e in result) == list(range(5))


def counted(count):
    """A dataset that counts how many elements were ever read from it."""
    read = []

    def generate():
        for i in range(count):
            read.append(i)
            yield i

    spec = tf.TensorSpec((), tf.int64)
    return tf.data.Dataset.from_generator(generate, output_signature=spec), read


def test_a_finished_directory_is_read_instead(tmp_path):
    source, read = counted(20)
    first = order(shuffled(source, tmp_path))
    del read[:]
    np.testing.assert_array_equal(order(shuffled(source, tmp_path)), first)
    assert read == []
    same_count = tf.data.Dataset.range(20)
    np.testing.assert_array_equal(order(shuffled(same_count, tmp_path)), first)
    with pytest.raises(ValueError, match="count 20 instead of 21"):
        shuffled(tf.data.Dataset.range(21), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 8}, "seed 7 instead of 8"),
        ({"seed": 7, "shards": 2}, "shards 3 instead of 2"),
        ({"seed": 7, "shards": 3, "count": N + 1}, f"count {N} instead of {N + 1}"),
        (
            {"seed": 7, "shards": 3, "dtype": "float32"},
            r"elements \"'int64\(\)'\" instead of \"'float32\(\)'\"",
        ),
    ],
)
def test_a_directory_that_does_not_fit_is_refused(stored, arguments, message):
    arguments = dict(arguments)
    source = tf.data.Dataset.range(arguments.pop("count", N), output_type=arguments.pop("dtype", "int64"))
    with pytest.raises(ValueError, match=rf"shuffled\(directory=.*overwrite=True.*{message}"):
        shuffled(source, stored[0], **arguments)


def test_overwrite_replaces_the_data(tmp_path):
    shuffled(tf.data.Dataset.range(5), tmp_path)
    replaced = shuffled(tf.data.Dataset.range(10, 13), tmp_path, overwrite=True)
    assert sorted(order(replaced)) == [10, 11, 12]
    assert json.loads((tmp_path / "shuffled.json").read_text())["count"] == 3


def test_a_directory_left_half_written_is_never_used(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")

    def fail(i):
        tf.debugging.assert_less(i, tf.constant(30, tf.int64))
        return i

    with pytest.raises(tf.errors.InvalidArgumentError):
        shuffled(tf.data.Dataset.range(50).map(fail), tmp_path)
    assert not (tmp_path / "shuffled.json").exists()
    assert sorted(order(shuffled(tf.data.Dataset.range(50), tmp_path))) == list(range(50))
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_interrupted_overwrite_leaves_nothing_that_looks_finished(tmp_path):
    shuffled(tf.data.Dataset.range(5), tmp_path)
    broken = tf.data.Dataset.range(5).map(lambda i: tf.debugging.check_numerics(1 / (3 - i), "broken"))
    with pytest.raises(tf.errors.InvalidArgumentError):
        shuffled(broken, tmp_path, overwrite=True)
    assert not (tmp_path / "shuffled.json").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shuffled(np.arange(3)), r"shuffled\(dataset=.*expected a tf.data.Dataset"),
        (lambda: shuffled(tf.data.Dataset.range(3).repeat()), r"expected a finite dataset"),
        (lambda: shuffled(tf.data.Dataset.range(0)), r"expected at least one element"),
        (lambda: shuffled(tf.data.Dataset.range(3), seed=-1), r"shuffled\(seed=-1\)"),
        (lambda: shuffled(tf.data.Dataset.range(3), shards=0), r"shuffled\(shards=0\)"),
        (
            lambda: shuffled(tf.data.Dataset.range(3).batch(2).map(tf.sparse.from_dense)),
            r"SparseTensorSpec.*expected dense tensors",
        ),
        (lambda: shuffled(tf.data.Dataset.range(4).window(2)), r"DatasetSpec.*expected dense tensors"),
    ],
)
def test_refuses_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_prints_nothing(capsys):
    shuffled(tf.data.Dataset.range(3))
    assert capsys.readouterr().out == ""
