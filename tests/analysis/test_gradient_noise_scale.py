"""The noise scale: against covariances that are known, unbiased, and the same however the batches fall."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.analysis import gradient_noise_scale


def linear(size, loss=lambda y, z: z, **options):
    """A model whose gradient of one sample is that sample."""
    model = keras.Sequential([keras.Input((size,)), keras.layers.Dense(1, use_bias=False, dtype="float64")])
    model.compile(loss=loss, **options)
    return model


def drawn(count, size=3, seed=0):
    """Samples of a known mean and covariance."""
    rng = np.random.default_rng(seed)
    mean, root = np.array([1.0, -0.5, 2.0])[:size], np.diag([0.5, 3.0, 1.0])[:size, :size]
    return mean + rng.normal(size=(count, size)) @ root, mean, root @ root.T


def test_single_samples_give_the_covariance_of_the_data():
    x, _, _ = drawn(50)
    found = gradient_noise_scale(linear(3), x, x, batch_size=1)
    variance = np.trace(np.cov(x.T))
    squared = x.mean(0) @ x.mean(0) - variance / 50
    np.testing.assert_allclose(found[:3], (squared, variance, variance / squared), rtol=1e-10)


@pytest.mark.parametrize(("count", "batch_size"), [(300, 1), (2000, 7), (6000, 32)])
def test_a_known_covariance_is_found(count, batch_size):
    """Within four standard errors of what was planted."""
    x, mean, covariance = drawn(count)
    found = gradient_noise_scale(linear(3), x, x, batch_size=batch_size)
    batches = math.ceil(count / batch_size)
    error = np.sqrt(2 * np.sum(np.diag(covariance) ** 2) / (batches - 1))
    assert abs(found.variance - np.trace(covariance)) < 4 * error
    assert error < 0.1 * np.trace(covariance)
    assert found.squared_norm == pytest.approx(mean @ mean, rel=0.25)
    assert found.noise_scale == pytest.approx(np.trace(covariance) / (mean @ mean), rel=0.4)
    assert found.suggested_batch == 2


def test_estimates_are_unbiased_with_a_shorter_last_batch():
    """Means over many small data sets of 10 samples in batches of 4, 4 and 2."""
    model, found = linear(3), []
    for seed in range(200):
        x, mean, covariance = drawn(10, seed=seed)
        parts = [x[:4].mean(0), x[4:8].mean(0), x[8:].mean(0)]
        sizes = np.array([4, 4, 2])
        center = sizes @ np.array(parts) / 10
        variance = sum(n * np.sum((p - center) ** 2) for n, p in zip(sizes, parts, strict=True)) / 2
        found.append((center @ center - variance / 10, variance))
        if seed < 3:
            np.testing.assert_allclose(
                gradient_noise_scale(model, x, x, batch_size=4)[:2], found[-1], rtol=1e-9
            )
    errors = np.std(found, axis=0) / np.sqrt(200)
    assert (np.abs(np.mean(found, axis=0) - (mean @ mean, np.trace(covariance))) < 3 * errors).all()


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_the_scale_does_not_depend_on_the_reduction(reduction):
    class Output(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return y_pred[:, 0]

    x, _, _ = drawn(50)
    found = gradient_noise_scale(linear(3, Output(reduction=reduction, dtype="float64")), x, x, batch_size=3)
    wanted = gradient_noise_scale(linear(3), x, x, batch_size=3)
    assert found.noise_scale == pytest.approx(wanted.noise_scale, rel=1e-10)


def test_data_sets_bring_their_batches():
    x, _, _ = drawn(50)
    batches = tf.data.Dataset.from_tensor_slices((x, x)).batch(3)
    np.testing.assert_allclose(
        gradient_noise_scale(linear(3), batches),
        gradient_noise_scale(linear(3), x, x, batch_size=3),
        rtol=1e-12,
    )
    sixteen = gradient_noise_scale(linear(3), x, x)
    np.testing.assert_allclose(sixteen, gradient_noise_scale(linear(3), x, x, batch_size=3), rtol=1e-12)


def test_noise_alone_has_no_scale():
    x = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    found = gradient_noise_scale(linear(1), x, x, batch_size=1)
    assert found.noise_scale == math.inf
    assert found.suggested_batch == 4
    assert found.efficiency(100) == 1.0
    assert [finding.name for finding in found.findings] == ["gradient lost in noise"]


def test_what_follows_from_the_scale():
    x, _, _ = drawn(400)
    found = gradient_noise_scale(linear(3), 5 * x - 4 * x.mean(0), x, batch_size=1)
    scale = found.noise_scale
    assert found.efficiency(scale) == pytest.approx(0.5)
    assert found.batch_variance(10) == pytest.approx(found.variance / 10)
    assert 2 ** math.floor(math.log2(400)) == 256 >= found.suggested_batch
    assert [finding.name for finding in found.findings_for(scale / 5)] == ["noisy gradient"]
    assert found.findings == found.findings_for(scale / 3) == []


def test_one_batch_is_refused():
    x, _, _ = drawn(8)
    with pytest.raises(ValueError, match=r"x='8 samples in 1 batch'\): expected at least two batches"):
        gradient_noise_scale(linear(3), x, x, batch_size=8)
    with pytest.raises(ValueError, match=r"expected a built and compiled keras\.Model"):
        gradient_noise_scale(lambda x: x, x)
