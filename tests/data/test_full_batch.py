"""full_batch: the mean over parts is the mean over samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

X = np.random.default_rng(0).normal(size=(11, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


def parts(*arrays, size=4):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


@pytest.mark.parametrize("given", [(X, Y), (X, Y, np.linspace(0, 2, 11).astype("float32"))], ids=len)
def test_the_mean_of_the_parts_is_that_of_the_samples(given):
    loss, weight = keras.losses.MeanSquaredError(), np.array([[1.0], [-2.0], [0.5]], "float32")
    x, y, *w = given
    whole = loss(y, x @ weight, *w)
    pieces = list(tfopt.data.full_batch(parts(*given)).take(3).as_numpy_iterator())
    assert np.mean([loss(y, x @ weight, w) for x, y, w in pieces]) == pytest.approx(float(whole), rel=1e-6)
    unweighted = np.mean([loss(y, x @ weight) for x, y, _ in pieces])
    assert abs(unweighted - float(whole)) > 1e-3


def test_it_never_ends_and_weights_of_the_data_stay():
    weights = np.linspace(0, 2, 11).astype("float32")
    seen = list(tfopt.data.full_batch(parts(X, Y, weights)).take(7).as_numpy_iterator())
    np.testing.assert_allclose(np.concatenate([w for *_, w in seen[:2]]), weights[:8] * 12 / 11, rtol=1e-6)
    np.testing.assert_array_equal(seen[0][2], seen[3][2])
    even = next(tfopt.data.full_batch(parts(X[:8], Y[:8])).as_numpy_iterator())
    np.testing.assert_array_equal(even[2], np.ones(4))


@pytest.mark.parametrize("given", ["targets", "weights", "floatx"])
def test_no_digit_of_float64_is_lost(given):
    own = np.linspace(0.1, 2.0, 11) if given == "weights" else np.ones(11)
    data = {"targets": (X, Y.astype("float64")), "weights": (X, Y, own), "floatx": (X, Y)}[given]
    keras.config.set_floatx("float64" if given == "floatx" else "float32")
    try:
        pieces = list(tfopt.data.full_batch(parts(*data)).take(3).as_numpy_iterator())
    finally:
        keras.config.set_floatx("float32")
    weights = np.concatenate([weight for *_, weight in pieces])
    share = np.repeat([12 / 11, 9 / 11], [8, 3])
    np.testing.assert_allclose(weights, share * own, rtol=1e-15)


def test_float32_stays_float32():
    *_, weight = next(tfopt.data.full_batch(parts(X.astype("float64"), Y)).as_numpy_iterator())
    assert weight.dtype == np.float32


@pytest.mark.parametrize("chosen", [None, True, False])
def test_pipelines_are_not_tuned_unless_the_data_say_so(chosen):
    """A private fault of TensorFlow's stands behind it; what is tested is the option that steps around it."""
    options = tf.data.Options()
    if chosen is not None:
        options.autotune.enabled = chosen
    found = tfopt.data.full_batch(parts(X, Y).with_options(options)).options()
    assert found.autotune.enabled is (chosen is True)


def test_nested_inputs():
    data = tf.data.Dataset.from_tensor_slices(({"a": X, "b": Y}, Y)).batch(6)
    *_, weight = next(tfopt.data.full_batch(data).as_numpy_iterator())
    np.testing.assert_allclose(weight, np.full(6, 12 / 11), rtol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [[1, 2], parts(X), parts(X, Y).repeat(), parts(X[:0], Y[:0])],
    ids=["list", "x", "endless", "empty"],
)
def test_bad_data_is_named(bad):
    with pytest.raises(ValueError, match="batches"):
        tfopt.data.full_batch(bad)
