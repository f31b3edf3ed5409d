"""Data sets that come in batches and end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt import _batches


class Pairs(keras.utils.PyDataset):
    """Two batches, or nobody knows how many."""

    def __init__(self, num_batches=2):
        super().__init__()
        self._count = num_batches

    @property
    def num_batches(self):
        return self._count

    def __getitem__(self, index):
        return np.full(2, index)


@pytest.mark.parametrize("data", [tf.data.Dataset.from_tensor_slices([[0, 0], [1, 1]]), Pairs()])
def test_a_reader_begins_anew_each_time(data):
    assert _batches.is_dataset(data)
    read = _batches.reader("owner", "x", data)
    for _ in range(2):
        np.testing.assert_array_equal([np.asarray(batch) for batch in read()], [[0, 0], [1, 1]])


def test_arrays_are_no_data_set():
    assert not _batches.is_dataset(np.ones(3))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tf.data.Dataset.range(3).repeat(), "a data set that ends"),
        (Pairs(None), "a PyDataset that knows its num_batches"),
    ],
)
def test_what_has_no_end_is_refused(data, expected):
    with pytest.raises(ValueError, match=rf"(?s)owner\(x=.*\): expected {expected}"):
        _batches.reader("owner", "x", data)
