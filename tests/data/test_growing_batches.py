"""Batch sizes that change inside one fit, and what every epoch must contain."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.data import GrowingBatches

N = 23


class Recorder(keras.layers.Layer):
    """Identity that keeps the samples it was trained on, batch by batch."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def _record(self, x):
        self.batches.append(x.ravel().astype(int).tolist())
        return x

    def call(self, x):
        recorded = tf.numpy_function(self._record, [x], tf.float32)
        recorded.set_shape(x.shape)
        return tf.stop_gradient(recorded)


def recording_model(**compile_args):
    recorder = Recorder()
    model = keras.Sequential([keras.Input((1,)), recorder, keras.layers.Dense(1)])
    model.compile("sgd", loss="mse", jit_compile=False, **compile_args)
    return model, recorder


def column(n=N):
    return np.arange(n, dtype=np.float32)[:, None]


def epochs_of(batches, sizes):
    """Cut the recorded batches into epochs of the expected numbers of batches."""
    counts = [-(-N // size) for size in sizes]
    assert len(batches) == sum(counts)
    edges = np.cumsum([0, *counts])
    return [batches[a:b] for a, b in itertools.pairwise(edges)]


def assert_epochs(batches, sizes):
    for epoch, size in zip(epochs_of(batches, sizes), sizes, strict=True):
        assert [len(batch) for batch in epoch[:-1]] == [size] * (len(epoch) - 1)
        assert 1 <= len(epoch[-1]) <= size
        assert sorted(itertools.chain(*epoch)) == list(range(N))


@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_one_fit_grows_and_covers_every_epoch(steps_per_execution):
    sizes = [2, 5, 5, 9, 23, 23]
    model, recorder = recording_model(steps_per_execution=steps_per_execution)
    batches = GrowingBatches(column(), column(), schedule=sizes, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(batches, epochs=len(sizes), shuffle=False, verbose=0)
    assert_epochs(recorder.batches, sizes)
    assert batches.epoch == len(sizes)


def test_fit_mixes_the_batches_but_not_their_samples():
    model, recorder = recording_model()
    batches = GrowingBatches(column(), column(), schedule=[2, 5, 5], seed=0)
    in_order = [[x.ravel().tolist() for x, _ in batches]]
    model.fit(batches, epochs=3, verbose=0)
    epochs = epochs_of(recorder.batches, [2, 5, 5])
    assert sorted(epochs[0]) == sorted(in_order[0])
    assert [sorted(itertools.chain(*epoch)) for epoch in epochs] == [list(range(N))] * 3


def test_warnings_are_as_before_after_fit():
    model, _ = recording_model()
    filters = list(warnings.filters)
    model.fit(GrowingBatches(column(), column(), schedule=[4, 8]), epochs=2, verbose=0)
    assert warnings.filters == filters


def test_model_built_by_the_first_batch_gets_the_same_epochs():
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(GrowingBatches(column(), column(), schedule=[6, 12]), epochs=3, verbose=0, callbacks=[count])
    assert steps == [0, 1, 2, 3, 0, 1, 0, 1]


def test_several_fits_go_on():
    model, recorder = recording_model()
    batches = GrowingBatches(column(), column(), schedule=[4, 8, 16], shuffle=False)
    for _ in range(3):
        model.fit(batches, epochs=1, shuffle=False, verbose=0)
    assert_epochs(recorder.batches, [4, 8, 16])


def test_initial_epoch_resumes_the_order_and_the_size():
    def run(first, count):
        batches = GrowingBatches(column(), schedule=[4, 8, 16], seed=5, initial_epoch=first)
        return [[x.numpy().ravel().tolist() for (x,) in batches.as_dataset()] for _ in range(count)]

    assert run(1, 2) == run(0, 3)[1:]


def test_dataset_form_in_fit():
    sizes = [2, 5, 9]
    model, recorder = recording_model()
    batches = GrowingBatches(column(), column(), schedule=sizes, seed=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        model.fit(batches.as_dataset(), epochs=len(sizes), verbose=0)
    assert_epochs(recorder.batches, sizes)


def test_validation_data_keep_their_own_epochs():
    model, _ = recording_model()
    train = GrowingBatches(column(), column(), schedule=[4, 8])
    history = model.fit(
        train, validation_data=GrowingBatches(column(), column(), schedule=5), epochs=2, verbose=0
    )
    assert np.isfinite(history.history["val_loss"]).all()
    assert train.epoch == 2


def test_shuffle_depends_on_seed_and_epoch_alone():
    def orders(**arguments):
        batches = GrowingBatches(column(), schedule=N, **arguments)
        return [next(iter(batches.as_dataset()))[0].numpy().ravel().tolist() for _ in range(3)]

    assert orders(seed=1) == orders(seed=1)
    assert orders(seed=1) != orders(seed=2)
    assert len({tuple(order) for order in orders(seed=1)}) == 3
    assert orders(shuffle=False) == [list(range(N))] * 3
    assert orders() != orders()


def test_nests_stay_aligned():
    index = np.arange(N)
    batches = GrowingBatches(
        {"a": index[:, None] * np.ones(3), "b": (index.astype("S4"), index.astype(np.float16))},
        [index, -index],
        schedule=6,
        sample_weight=index / 10,
        seed=0,
    )
    rows = []
    for x, y, weight in batches.as_dataset():
        rows += y[0].numpy().tolist()
        np.testing.assert_array_equal(x["a"][:, 2], y[0])
        np.testing.assert_array_equal(x["b"][0].numpy().astype(int), y[0])
        np.testing.assert_array_equal(x["b"][1], y[0])
        np.testing.assert_array_equal(y[1], -y[0])
        np.testing.assert_allclose(weight, y[0].numpy() / 10)
        assert x["b"][1].dtype == tf.float16
    assert sorted(rows) == index.tolist()


def test_sample_weight_and_class_weight_reach_the_loss():
    x, y = np.ones((4, 1), np.float32), np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(1e-9), loss="mse")
    weighted = GrowingBatches(x, y, schedule=4, sample_weight=np.array([0, 0, 1.0, 3.0]))
    assert model.fit(weighted, verbose=0).history["loss"] == pytest.approx([1.0])
    by_class = model.fit(GrowingBatches(x, y, schedule=4), class_weight={0: 5.0, 1: 2.0}, verbose=0)
    assert by_class.history["loss"] == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("schedule", "sizes"),
    [
        (lambda epoch: 3 + epoch, [3, 4, 5, 6]),
        ([2, 4], [2, 4, 4, 4]),
        ((7,), [7, 7, 7, 7]),
        ({0: 2, 2: 8}, [2, 2, 8, 8]),
        (np.int64(5), [5, 5, 5, 5]),
        ([4, 100], [4, N, N, N]),
        (GrowingBatches.geometric(2, 1.5), [2, 3, 4, 7]),
        (GrowingBatches.geometric(2, 2, every=2, maximum=3), [2, 2, 3, 3]),
    ],
)
def test_schedule_forms(schedule, sizes):
    batches = GrowingBatches(column(), schedule=schedule)
    seen = []
    for _ in sizes:
        seen.append(batches.batch_size)
        assert len(list(batches.as_dataset())) == -(-N // seen[-1])
    assert seen == sizes


def test_geometric_growth_does_not_overflow():
    size = GrowingBatches.geometric(32, 2.0)
    assert size(3) == 256
    assert size(10**6) >= 2**62
    assert GrowingBatches.geometric(32, 1)(10**9) == 32


def test_a_function_that_shrinks_is_refused_when_it_does():
    batches = GrowingBatches(column(), schedule=lambda epoch: 8 - epoch)
    list(batches.as_dataset())
    with pytest.raises(ValueError, match=r"schedule\(1\)=7\): expected .*at least 8.*must not shrink"):
        batches[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GrowingBatches(column()), r"GrowingBatches\(schedule=None\): expected a function"),
        (lambda: GrowingBatches(column(), schedule=[]), r"schedule=\[\]\): expected integer batch sizes"),
        (lambda: GrowingBatches(column(), schedule=[4, 2]), r"never shrink"),
        (lambda: GrowingBatches(column(), schedule=[0, 2]), r"sizes >= 1"),
        (lambda: GrowingBatches(column(), schedule={1: 4}), r"with the key 0"),
        (lambda: GrowingBatches(column(), schedule={0: 4, 3: 2}), r"never shrink"),
        (lambda: GrowingBatches(column(), schedule=2.5), r"schedule=2.5"),
        (lambda: GrowingBatches(column(), schedule=lambda e: 0.5).batch_size, r"schedule\(epoch\)=0.5"),
        (lambda: GrowingBatches(column(), column(5), schedule=2), r"lengths=\[23, 5\]"),
        (lambda: GrowingBatches(np.zeros((0, 2)), schedule=2), r"at least one sample"),
        (lambda: GrowingBatches(np.float32(3), schedule=2), r"GrowingBatches\(x=.*first axis"),
        (lambda: GrowingBatches(column(), column(), 2, seed=-1), r"seed=-1"),
        (lambda: GrowingBatches(column(), schedule=2, sample_weight=np.ones(N)), r"y=None"),
        (lambda: GrowingBatches(column(), schedule=2, initial_epoch=-1), r"initial_epoch=-1"),
        (lambda: GrowingBatches.geometric(0), r"GrowingBatches.geometric\(start=0\)"),
        (lambda: GrowingBatches.geometric(8, 0.5), r"factor=0.5\): expected factor >= 1"),
        (lambda: GrowingBatches.geometric(8, maximum=4), r"maximum=4\): expected an integer"),
    ],
)
def test_refuses_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_index_beyond_the_epoch():
    with pytest.raises(IndexError, match=r"GrowingBatches\[3\]: epoch 0 has 3 batches"):
        GrowingBatches(column(), schedule=8)[3]
