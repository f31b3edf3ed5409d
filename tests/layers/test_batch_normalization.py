"""BatchNormalization: running statistics, inference, Keras' weights, masks, replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.layers import BatchNormalization

BATCHES = np.random.default_rng(0).normal(2.0, 3.0, size=(5, 8, 3))


def running(layer):
    return layer.moving_mean.numpy(), layer.moving_variance.numpy()


@pytest.mark.parametrize("make", [BatchNormalization, keras.layers.BatchNormalization])
def test_exponential_statistics(make):
    """One formula for Keras' layer and for ours."""
    layer = make(momentum=0.9, dtype="float64")
    mean, variance = np.zeros(3), np.ones(3)
    for batch in BATCHES:
        layer(batch, training=True)
        mean = 0.9 * mean + 0.1 * batch.mean(0)
        variance = 0.9 * variance + 0.1 * batch.var(0)
    np.testing.assert_allclose(running(layer), (mean, variance), rtol=1e-12)


def test_cumulative_statistics_are_the_mean_over_all_batches(tmp_path, saved_and_loaded):
    layer = BatchNormalization(momentum=None, dtype="float64")
    model = keras.Sequential([keras.Input((3,), dtype="float64"), layer])
    for batch in BATCHES[:3]:
        model(batch, training=True)
    model = saved_and_loaded(model, tmp_path)
    for batch in BATCHES[3:]:
        model(batch, training=True)
    found = running(model.layers[-1])
    np.testing.assert_allclose(found, (BATCHES.mean((0, 1)), BATCHES.var(1).mean(0)), rtol=1e-12)


def test_cumulative_statistics_count_each_position_by_itself():
    """Per unit and with a mask, a position that a batch leaves out keeps what it had."""
    layer = BatchNormalization(per="unit", momentum=None, dtype="float64")
    x = np.random.default_rng(1).normal(size=(2, 4, 2, 1))
    layer(x[0], training=True, mask=np.array([[True, True]] * 4))
    layer(x[1], training=True, mask=np.array([[True, False]] * 4))
    mean, _ = running(layer)
    np.testing.assert_allclose(mean[:, 0], [x[:, :, 0].mean(), x[0, :, 1].mean()], rtol=1e-12)
    assert layer.batches.numpy()[:, 0].tolist() == [2.0, 1.0]


def test_one_sample_at_inference():
    layer = BatchNormalization(momentum=None, dtype="float64")
    for batch in BATCHES:
        layer(batch, training=True)
    mean, variance = running(layer)
    sample = BATCHES[0, :1]
    np.testing.assert_allclose(layer(sample), (sample - mean) / np.sqrt(variance + 1e-3), rtol=1e-12)
    np.testing.assert_array_equal(layer(BATCHES[0])[:1], layer(sample))


def test_one_sample_in_training_is_the_offset():
    """Its deviation from itself is 0: why batches must not be that small."""
    layer = BatchNormalization(beta_initializer="ones")
    np.testing.assert_array_equal(layer(BATCHES[0, :1], training=True), np.ones((1, 3)))


def test_derivatives_at_inference():
    """With running statistics the layer is affine."""
    layer = BatchNormalization(dtype="float64", moving_variance_initializer=keras.initializers.Constant(3.0))
    x = tf.constant(BATCHES[0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(tape.gradient(y, x), np.full(x.shape, 1 / np.sqrt(3.001)), rtol=1e-12)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (4, 2, 3, 5)), (1, (4, 5, 2, 3)), (2, (4, 2, 5, 3))])
def test_weights_go_to_keras_and_back(axis, shape):
    rng = np.random.default_rng(0)
    ours, theirs = BatchNormalization(axis=axis), keras.layers.BatchNormalization(axis=axis)
    x = rng.normal(1.0, 2.0, size=shape).astype(np.float32)
    for layer in (ours, theirs):
        layer.build(shape)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    weights = [rng.uniform(0.5, 2.0, 5) for _ in range(4)]
    for source, target in ((ours, theirs), (theirs, ours)):
        source.set_weights(weights)
        source(x, training=True)
        target.set_weights(source.get_weights())
        np.testing.assert_allclose(target(x), source(x), rtol=1e-5, atol=1e-6)


def test_running_statistics_of_half_precision_layers_do_not_stall():
    """In bfloat16 a step of 1 % of the difference would round away."""
    layer = BatchNormalization(dtype="bfloat16", momentum=0.99)
    x = tf.constant([[1.0], [3.0]], tf.bfloat16)
    layer.build(x.shape)
    step = tf.function(lambda: layer(x, training=True))
    for _ in range(600):
        step()
    assert layer.moving_mean.dtype == "float32"
    assert layer.moving_mean.numpy()[0] == pytest.approx(2.0, rel=5e-3)


@pytest.mark.parametrize("per", ["channel", "unit"])
def test_masked_elements_do_not_count(per):
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(6, 4, 3)), rng.random((6, 4)) < 0.7
    mask[0] = True
    x[~mask] = np.nan
    layer = BatchNormalization(per=per, momentum=0.0, dtype="float64")
    y = layer(x, training=True, mask=mask).numpy()
    axes = (0, 1) if per == "channel" else 0
    mean, variance = np.nanmean(x, axes), np.nanvar(x, axes)
    np.testing.assert_allclose(running(layer), (mean, variance), rtol=1e-12)
    np.testing.assert_allclose(y[mask], ((x - mean) / np.sqrt(variance + 1e-3))[mask], rtol=1e-12)
    assert not np.any(y[~mask])
    np.testing.assert_allclose(layer(x, mask=mask), y, rtol=1e-12, atol=1e-12)


def test_keras_agrees_on_masks():
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(6, 4, 3)), rng.random((6, 4)) < 0.7
    layers = [make(dtype="float64") for make in (BatchNormalization, keras.layers.BatchNormalization)]
    ours, theirs = (layer(x, training=True, mask=mask).numpy() for layer in layers)
    # Keras adds its fuzz factor to the count.
    np.testing.assert_allclose(ours[mask], theirs[mask], rtol=1e-6)
    np.testing.assert_allclose(*(np.concatenate(layer.get_weights()) for layer in layers), rtol=1e-6)


def test_an_all_masked_batch_changes_nothing():
    layer = BatchNormalization(momentum=0.5)
    layer(np.full((2, 3, 1), np.nan, np.float32), training=True, mask=np.zeros((2, 3), bool))
    assert running(layer) == (0.0, 1.0)


# -- Replicas --------------------------------------------------------------------------------------------


def split(strategy, *arrays):
    """Each array's halves as per-replica values."""
    return [
        strategy.experimental_distribute_values_from_function(
            lambda context, a=a: tf.constant(np.split(a, 2)[context.replica_id_in_sync_group])
        )
        for a in arrays
    ]


@pytest.mark.parametrize("masked", [False, True])
def test_synchronised_replicas_are_one_device(strategy, masked):
    """Outputs, gradients, a Hessian product and the running statistics, with a large mean."""
    rng = np.random.default_rng(0)
    x, upstream, direction = rng.normal(size=(3, 8, 4, 3))
    x += 1e4 * np.arange(8)[:, None, None]
    mask = rng.random((8, 4)) < 0.7 if masked else np.ones((8, 4), bool)

    def derivatives(layer, x, upstream, direction, mask):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = layer(x, training=True, mask=mask if masked else None)
                loss = tf.reduce_sum(upstream * y**2)
            by_x, by_gamma = inner.gradient(loss, [x, layer.gamma.value])
            slope = tf.reduce_sum(by_x * direction)
        return y, by_x, outer.gradient(slope, x), by_gamma

    one = BatchNormalization(synchronized=True, dtype="float64")
    *expected, by_gamma = derivatives(one, *(tf.constant(part) for part in (x, upstream, direction, mask)))
    with strategy.scope():
        both = BatchNormalization(synchronized=True, dtype="float64")
        both.build(x.shape)
    parts = split(strategy, x, upstream, direction, mask)
    found = tf.function(lambda *parts: strategy.run(derivatives, (both, *parts)))(*parts)
    *found, gammas = (strategy.experimental_local_results(part) for part in found)
    for ours, theirs in zip(found, expected, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(np.concatenate(ours), theirs, rtol=1e-7, atol=1e-9 * scale)
    np.testing.assert_allclose(sum(gammas), by_gamma, rtol=1e-7)
    np.testing.assert_allclose(running(both), running(one), rtol=1e-9)


def trained(layer, x, y):
    """Weights after a short `fit` that includes the layer."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), layer, keras.layers.Dense(1)])
    start = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(start.normal(size=variable.shape))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model


def test_synchronised_replicas_train_as_one_device(strategy):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 4)).astype(np.float32), rng.normal(size=(32, 1)).astype(np.float32)
    one = trained(BatchNormalization(synchronized=True), x, y)
    with strategy.scope():
        both = trained(BatchNormalization(synchronized=True), x, y)
    for ours, theirs in zip(both.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.9, None])
def test_running_statistics_are_the_replicas_mean_and_the_same_on_each(strategy, momentum):
    batch = BATCHES[0]
    with strategy.scope():
        layer = BatchNormalization(momentum=momentum, dtype="float64")
        layer.build(batch.shape)
    tf.function(lambda x: strategy.run(lambda x: layer(x, training=True), (x,)))(*split(strategy, batch))
    halves = np.split(batch, 2)
    mean = np.mean([half.mean(0) for half in halves], 0)
    for replica in strategy.experimental_local_results(layer.moving_mean.value):
        np.testing.assert_allclose(replica, mean * (1 if momentum is None else 0.1), rtol=1e-12)
    if momentum is None:
        assert layer.batches.numpy().tolist() == [1.0, 1.0, 1.0]
