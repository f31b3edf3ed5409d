"""recalibrate_batch_norm: the exact statistics of what comes in, for both layers, wherever they are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import layers
from tfopt.layers import recalibrate_batch_norm

KINDS = pytest.mark.parametrize("make", [layers.BatchNormalization, keras.layers.BatchNormalization])
RNG = np.random.default_rng(0)
X = RNG.normal(5.0, 3.0, size=(50, 4)).astype(np.float32)


def network(make):
    """Two layers, one in a nested model, with dropout before the second."""
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2), make()])
    return keras.Sequential([keras.Input((4,)), make(), keras.layers.Dense(3, "relu"), inner]), inner


def incoming(inner, x):
    """What the nested model's normalisation gets, without dropout."""
    return inner.layers[1](x).numpy()


@KINDS
@pytest.mark.parametrize("batch_size", [7, 50])
def test_the_first_layer_gets_the_datas_mean_and_variance(make, batch_size):
    """Whatever the batches, the last smaller one included."""
    model, _ = network(make)
    recalibrate_batch_norm(model, X, batch_size=batch_size)
    first = model.layers[0]
    np.testing.assert_allclose(first.moving_mean, X.mean(0), rtol=1e-6)
    np.testing.assert_allclose(first.moving_variance, X.var(0), rtol=1e-5)


@KINDS
def test_a_nested_layer_sees_the_batches_normalised(make):
    model, inner = network(make)
    recalibrate_batch_norm(model, X, batch_size=25)
    seen = [(half - half.mean(0)) / np.sqrt(half.var(0) + 1e-3) for half in np.split(X, 2)]
    h = incoming(inner, model.layers[1](np.concatenate(seen)))
    np.testing.assert_allclose(inner.layers[-1].moving_mean, h.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(inner.layers[-1].moving_variance, h.var(0), rtol=1e-4)


@KINDS
@pytest.mark.parametrize("batch_size", [1, 8])
def test_one_by_one_is_exact_for_every_layer_and_any_batch_size(make, batch_size):
    """Each layer's statistics are those of what comes in at inference; the last ones' mean out is 0."""
    model, inner = network(make)
    model.add(keras.layers.Activation("relu"))
    model.add(make())
    recalibrate_batch_norm(model, X, batch_size=batch_size, one_by_one=True)
    h = incoming(inner, model.layers[1](model.layers[0](X)))
    np.testing.assert_allclose(inner.layers[-1].moving_mean, h.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(inner.layers[-1].moving_variance, h.var(0), rtol=1e-4)
    np.testing.assert_allclose(model(X).numpy().mean(0), 0.0, atol=1e-5)


def test_a_shifted_domain_is_served_again():
    """Training data moved and stretched: answers return to what they were."""
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(momentum=None, epsilon=1e-9)])
    model(X, training=True)
    before, shifted = model(X).numpy(), 3.0 * X - 20.0
    assert np.abs(model(shifted).numpy() - before).max() > 5.0
    recalibrate_batch_norm(model, shifted)
    np.testing.assert_allclose(model(shifted), before, atol=1e-4)


@KINDS
def test_all_else_is_left_as_it_was(make):
    model, inner = network(make)
    inner.layers[-1].trainable = False
    model.compile(keras.optimizers.Adam(), "mse", metrics=["mae"])
    model.fit(X, np.zeros((50, 2)), verbose=0)
    weights = [w.numpy() for w in model.trainable_variables]
    state = [np.array(v.numpy()) for v in model.optimizer.variables]
    recalibrate_batch_norm(model, X)
    assert not inner.layers[-1].trainable
    assert "call" not in vars(inner.layers[-1])
    for old, new in zip(weights, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(state, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    model.fit(X, np.zeros((50, 2)), verbose=0)


def test_an_error_in_the_data_leaves_the_model_whole():
    model, _ = network(layers.BatchNormalization)
    with pytest.raises(ValueError):
        recalibrate_batch_norm(model, X[:, :3])
    assert "call" not in vars(model.layers[0])
    assert not np.any(model.layers[0].moving_mean.numpy())
    assert model(X).shape == (50, 2)


def test_cumulative_statistics_go_on_from_the_measured_ones():
    layer = layers.BatchNormalization(momentum=None, dtype="float64")
    model = keras.Sequential([keras.Input((4,), dtype="float64"), layer])
    recalibrate_batch_norm(model, X.astype(np.float64), batch_size=25)
    model(np.zeros((5, 4)), training=True)
    np.testing.assert_allclose(layer.moving_mean, X.mean(0, dtype=np.float64) * 2 / 3, rtol=1e-9)


def test_averaged_weights_get_their_own_statistics():
    """Of what the average makes of the data, which neither the iterates nor their statistics are."""
    model, inner = network(layers.BatchNormalization)
    optimizer = tfopt.PolyakAverage(tfopt.SGD(0.3))
    model.compile(optimizer, "mse")
    model.fit(X, np.ones((50, 2)), epochs=3, verbose=0)
    optimizer.to_evaluation_weights()
    recalibrate_batch_norm(model, X, one_by_one=True)
    within = model.layers[1](model.layers[0](X)).numpy()
    expected = incoming(inner, within)
    np.testing.assert_allclose(inner.layers[-1].moving_mean, expected.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inner.layers[-1].moving_variance, expected.var(0), rtol=1e-4, atol=1e-5)


class Pairs(keras.utils.PyDataset):
    """(x, y) in halves."""

    @property
    def num_batches(self):
        return 2

    def __getitem__(self, index):
        return X[25 * index : 25 * (index + 1)], np.zeros(25)


@pytest.mark.parametrize(
    "data",
    [tf.data.Dataset.from_tensor_slices((X, np.zeros(50))).batch(25), Pairs()],
    ids=["tf.data", "PyDataset"],
)
def test_data_sets(data):
    model, _ = network(layers.BatchNormalization)
    recalibrate_batch_norm(model, data)
    np.testing.assert_allclose(model.layers[0].moving_mean, X.mean(0), rtol=1e-6)


@pytest.mark.parametrize(
    "kind", [list, lambda pair: dict(zip("ab", pair, strict=True))], ids=["list", "dict"]
)
def test_models_of_several_inputs(kind):
    first, second = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    layer = layers.BatchNormalization()
    model = keras.Model(kind([first, second]), layer(keras.layers.Subtract()([first, second])))
    recalibrate_batch_norm(model, kind([X, X[::-1] / 2]), batch_size=20)
    np.testing.assert_allclose(layer.moving_mean, (X - X[::-1] / 2).mean(0), rtol=1e-5)


@pytest.mark.parametrize(("axis", "per"), [(1, "channel"), (-1, "channel"), (-1, "unit")])
def test_images_and_shared_layers(axis, per):
    x = RNG.normal(size=(6, 3, 2, 4)).astype(np.float32)
    layer = layers.BatchNormalization(axis=axis, per=per)
    inputs = keras.Input((3, 2, 4))
    model = keras.Model(inputs, layer(layer(inputs)))
    recalibrate_batch_norm(model, x, batch_size=6)
    kept = {1: (0, 2, 3), -1: (0, 1, 2)}[axis] if per == "channel" else 0
    over = dict(axis=kept, keepdims=True)
    once = (x - x.mean(**over)) / np.sqrt(x.var(**over) + 1e-3)
    both = np.concatenate([x, once])
    np.testing.assert_allclose(layer.moving_mean, both.mean(kept), atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, both.var(kept), rtol=1e-5)


def test_refusals():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model, _ = network(layers.BatchNormalization)
    endless = tf.data.Dataset.from_tensors(X).repeat()
    renorm = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(renorm=True)])
    for target, data, options, message in (
        (plain, X, {}, "a built model with batch normalisation layers"),
        (renorm, X, {}, "none with renorm=True"),
        (model, endless, {}, "without repeat()"),
        (model, X[:0], {}, "at least one batch"),
        (model, None, {}, "expected an array, a nest of arrays"),
        (model, [], {}, "expected an array, a nest of arrays"),
        (model, X.tolist(), {}, "expected an array, a nest of arrays"),
        (model, (x for x in [X]), {}, "a tf.data.Dataset or a PyDataset"),
        (model, [X, X[:5]], {}, "of equally many samples"),
        (model, X, {"batch_size": 0}, "batch_size >= 1"),
    ):
        with pytest.raises(ValueError) as caught:
            recalibrate_batch_norm(target, data, **options)
        assert message in str(caught.value)
