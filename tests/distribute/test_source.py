"""Batches as they are dealt out, without a cluster."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.distribute._source import source_of

X = np.arange(12.0)[:, None]


def batches(source):
    return [batch[0].numpy().ravel().tolist() for batch in source.epoch()]


@pytest.mark.parametrize("steps", [None, 3])
def test_a_look_at_the_first_batch_takes_none_away(steps):
    source = source_of(None, X, steps, y=X, batch_size=4, shuffle=False)
    assert source.spec[0].shape[1:] == (1,)
    assert source.first()[0].numpy().ravel().tolist() == [0, 1, 2, 3]
    for _ in range(2):
        assert batches(source) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert source.steps == 3


def test_an_epoch_may_end_before_the_data_and_the_next_one_goes_on():
    source = source_of(None, tf.data.Dataset.from_tensor_slices((X, X)).batch(4).repeat(), 2, shuffle=False)
    source.first()
    assert batches(source) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batches(source) == [[8, 9, 10, 11], [0, 1, 2, 3]]


def test_what_is_restarted_begins_with_the_first_batch():
    source = source_of(None, X, 2, y=X, batch_size=4, shuffle=False)
    for _ in range(2):
        assert batches(source) == [[0, 1, 2, 3], [4, 5, 6, 7]]
        source.restart()


PIPELINE = tf.data.Dataset.from_tensor_slices((X, X))
WAYS = {
    "goes on": lambda: (PIPELINE.batch(4).repeat(), 2),
    "shuffles anew": lambda: (PIPELINE.shuffle(12, seed=5).batch(4), None),
    "shuffles and goes on": lambda: (PIPELINE.shuffle(12, seed=5).repeat().batch(5), 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_after_epochs_that_were_passed_over_come_the_batches_that_followed_them(way):
    trained, resumed = (source_of(None, *WAYS[way](), shuffle=False) for _ in range(2))
    before = [batches(trained) for _ in range(2)]
    resumed.pass_over(2)
    after = batches(resumed)
    assert after == batches(trained)
    assert after not in before


def test_workers_that_read_for_themselves_take_so_many_steps():
    class Coordinator:
        def create_per_worker_dataset(self, function):
            return function()

    def endless():
        return tf.data.Dataset.from_tensor_slices((X, X)).repeat().batch(4)

    source = source_of(Coordinator(), endless, 5, shuffle=False)
    assert source.first()[0].numpy().ravel().tolist() == [0, 1, 2, 3]
    sent = list(source.epoch())
    assert (len(sent), source.steps) == (5, 5)
    # Each step gets the one iterator, from which its worker reads.
    assert all(iterator is sent[0] for iterator in sent)
    assert next(sent[0])[0].numpy().ravel().tolist() == [0, 1, 2, 3]
