"""Every batch k times in a row, from every kind of input."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.data import GrowingBatches, repeat_each

Pair = collections.namedtuple("Pair", "left right")


class Noisy(keras.utils.PyDataset):
    """Three batches with fresh noise at every access; keeps what Keras told it."""

    def __init__(self, batch=lambda x: (x, 2 * x), count=3, **kwargs):
        super().__init__(**kwargs)
        self.generator = np.random.default_rng(0)
        self.batch, self.count, self.calls = batch, count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.batch((index + self.generator.uniform(0, 0.5, (4, 1))).astype(np.float32))

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


@pytest.mark.parametrize(
    "structure",
    [
        lambda i: i,
        lambda i: (i,),
        lambda i: (i, -i),
        lambda i: {"a": i, "b": (i, i)},
        lambda i: Pair(i, i),
        lambda i: tf.sparse.from_dense(i),
        lambda i: tf.RaggedTensor.from_row_lengths(i, [1, tf.size(i) - 1]),
    ],
    ids=["tensor", "one", "pair", "dict", "namedtuple", "sparse", "ragged"],
)
def test_structures(structure):
    batches = tf.data.Dataset.range(1, 8).batch(2, drop_remainder=True).map(structure)
    repeated = repeat_each(batches, 3)
    assert repeated.element_spec == batches.element_spec
    assert int(repeated.cardinality()) == 9
    expected = [batch for batch in batches for _ in range(3)]
    for seen, wanted in zip(repeated, expected, strict=True):
        tf.nest.assert_same_structure(seen, wanted, expand_composites=True)
        pairs = zip(
            tf.nest.flatten(seen, expand_composites=True),
            tf.nest.flatten(wanted, expand_composites=True),
            strict=True,
        )
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_unknown_and_infinite_cardinality():
    batches = tf.data.Dataset.range(9).filter(lambda i: i % 4 == 0)
    repeated = repeat_each(batches, 2)
    assert int(repeated.cardinality()) == tf.data.UNKNOWN_CARDINALITY
    assert [int(i) for i in repeated] == [0, 0, 4, 4, 8, 8]
    endless = repeat_each(tf.data.Dataset.range(2).repeat(), 2)
    assert int(endless.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert [int(i) for i in endless.take(6)] == [0, 0, 1, 1, 0, 0]


def test_random_augmentation_is_drawn_once_per_batch():
    noise = tf.data.Dataset.range(3).map(lambda i: tf.random.uniform(()))
    seen = [float(x) for x in repeat_each(noise, 4)]
    assert len(set(seen)) == 3
    assert seen == [x for x in seen[::4] for _ in range(4)]


def test_a_batch_keeps_its_place_in_fit():
    """A PyDataset that fit would shuffle, read in one fit of two epochs."""
    source, seen = Noisy(), []
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), loss="mse", run_eagerly=True)
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: seen.append(logs["loss"]))
    reset = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda _, logs: model.reset_metrics())
    model.fit(repeat_each(source, 5), epochs=2, verbose=0, callbacks=[reset, record])
    assert len(seen) == 30
    assert len(set(seen)) == 6
    assert seen == [loss for loss in seen[::5] for _ in range(5)]
    assert source.calls == ["begin", "end"] * 2


@pytest.mark.parametrize(
    "batch",
    [lambda x: x, lambda x: tf.constant(x), lambda x: [x, x], lambda x: {"a": x}],
    ids=["array", "tensor", "list", "dict"],
)
def test_batches_of_a_py_dataset(batch):
    repeated = repeat_each(Noisy(batch), 2)
    assert int(repeated.cardinality()) == 6
    leaves = [np.array(tf.nest.flatten(element)) for element in repeated]
    assert all(np.array_equal(a, b) for a, b in zip(leaves[::2], leaves[1::2], strict=True))
    assert [int(leaf.min()) for leaf in leaves[::2]] == [0, 1, 2]


def test_last_batch_survives_a_rearrangement_at_the_end_of_the_epoch():
    class InPlace(keras.utils.PyDataset):
        rows = np.arange(4.0)

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (self.rows[2 * index : 2 * index + 2],)

        def on_epoch_end(self):
            self.rows[:] = -1

    assert [x.numpy().tolist() for (x,) in repeat_each(InPlace(), 1)] == [[0, 1], [2, 3]]


def test_batches_of_different_lengths():
    lengths = iter([3, 5, 3, 5, 4])
    ragged = Noisy(lambda x: (np.ones((2, next(lengths)), np.float32),), count=3)
    assert [x.shape[1] for (x,) in repeat_each(ragged, 1)] == [3, 5, 4]


def test_growing_batches_grow():
    batches = repeat_each(GrowingBatches(np.arange(6), schedule=[2, 3], shuffle=False), 2)
    assert [[len(x) for (x,) in batches] for _ in range(2)] == [[2] * 6, [3] * 4]


@pytest.mark.parametrize(
    ("dataset", "k", "message"),
    [
        (lambda: tf.data.Dataset.range(3), 0, r"repeat_each\(k=0\): expected an integer with k >= 1"),
        (lambda: tf.data.Dataset.range(3), 1.5, r"k=1.5"),
        (lambda: np.arange(3), 2, r"expected a tf.data.Dataset or a keras.utils.PyDataset"),
        (lambda: Noisy(count=0), 2, r"a finite number of batches, at least one"),
    ],
)
def test_refuses_bad_arguments(dataset, k, message):
    with pytest.raises(ValueError, match=message):
        repeat_each(dataset(), k)


def test_refuses_an_endless_py_dataset():
    class Endless(Noisy):
        num_batches = None

    with pytest.raises(ValueError, match="finite"):
        repeat_each(Endless(), 2)
