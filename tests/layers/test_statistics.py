"""The statistics core: large and constant inputs, masks, nothing to count."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.layers._statistics import Region, statistics

REGIMES = pytest.mark.parametrize("jit_compile", [False, True])


def measured(x, region, jit_compile=False):
    return tf.function(lambda x: statistics(x, region), jit_compile=jit_compile)(tf.constant(x))


@REGIMES
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("mean", [0.0, 1e4, -1e6])
def test_large_means_cost_no_digits(mean, axes, jit_compile):
    """Against float64 on the very numbers; E x² − (E x)² would leave nothing at 1e4."""
    x = (mean + np.random.default_rng(0).normal(size=(3000, 40))).astype(np.float32)
    exact = x.astype(np.float64)
    found = measured(x, Region(axes), jit_compile)
    spacing = np.spacing(np.float32(abs(mean) + 8))  # at least 1e-6 of the deviation
    np.testing.assert_allclose(found.mean, exact.mean(axes, keepdims=True), rtol=0, atol=spacing)
    np.testing.assert_allclose(found.variance, exact.var(axes, keepdims=True), rtol=2e-5)


@REGIMES
@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678, -3e38])
def test_constant_inputs_have_their_mean_and_no_variance(value, jit_compile):
    x = np.full((1000, 3), value, np.float32)
    found = measured(x, Region((0,)), jit_compile)
    np.testing.assert_array_equal(found.mean, x[:1])
    np.testing.assert_array_equal(found.variance, np.zeros((1, 3)))


@pytest.mark.parametrize("first_counts", [False, True])
def test_masks(first_counts):
    """Whatever stands where the mask is False, NaN too, changes nothing."""
    rng = np.random.default_rng(1)
    x, mask = 1e3 + rng.normal(size=(4, 6, 5)), rng.random((4, 6, 1)) < 0.6
    mask[:, 0], mask[:, 1] = first_counts, True
    region = Region((1, 2), tf.constant(mask))
    hidden = np.where(mask, x, np.nan)
    found = measured(hidden, region)
    np.testing.assert_allclose(found.mean[:, 0, 0], np.nanmean(hidden, (1, 2)))
    np.testing.assert_allclose(found.variance[:, 0, 0], np.nanvar(hidden, (1, 2)))
    np.testing.assert_array_equal(found.count[:, 0, 0], 5 * mask.sum((1, 2)))


@pytest.mark.parametrize(
    ("shape", "axes", "mask"),
    [((0, 3), (0,), None), ((2, 0, 3), (1,), None), ((2, 4, 3), (1,), tf.zeros((2, 4, 1), tf.bool))],
    ids=["no samples", "no positions", "all masked"],
)
def test_nothing_to_count_is_zero(shape, axes, mask):
    found = measured(np.ones(shape, np.float32), Region(axes, mask))
    kept = tuple(1 if axis in axes else length for axis, length in enumerate(shape))
    np.testing.assert_array_equal(found.mean, np.zeros(kept))
    np.testing.assert_array_equal(found.variance, np.zeros(kept))
    assert np.all(found.count == 0)


def test_the_mean_keeps_its_derivative_within_the_variance():
    """What `tf.nn.moments` drops: the second derivative of σ² is 2 (I − 1/n)/n."""
    x = tf.constant([1.0, 2.0, 4.0], tf.float64)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            variance = statistics(x, Region((0,))).variance
        gradient = inner.gradient(variance, x)
    hessian = outer.jacobian(gradient, x)
    np.testing.assert_allclose(hessian, 2 / 3 * (np.eye(3) - 1 / 3), atol=1e-15)
