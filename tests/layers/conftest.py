"""Normalisation in float64 NumPy, forward and backward by the chapter's formulas, and rows of layers to test.

The reference works on a view of the input in which the statistics are over whole axes, and knows nothing of
TensorFlow.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt import layers

EPSILON = 1e-3


class Row(NamedTuple):
    """A layer, the shape of an input, and how the reference sees it."""

    make: Callable
    shape: tuple
    axes: tuple  # of the statistics, in the split shape
    parameter: tuple  # shape of γ and β, broadcastable to the split shape
    split: tuple | None = None

    @property
    def view(self):
        return self.split or self.shape


ROWS = {
    "layer": Row(layers.LayerNormalization, (5, 7), (1,), (1, 7)),
    "layer of two axes": Row(
        lambda **k: layers.LayerNormalization(axis=(1, -1), **k), (3, 4, 5), (1, 2), (1, 4, 5)
    ),
    "layer, inner axis": Row(lambda **k: layers.LayerNormalization(axis=1, **k), (3, 4, 5), (1,), (1, 4, 1)),
    "layer, channel scale": Row(
        lambda **k: layers.LayerNormalization(axis=[1, 2], scale_shape="channel", **k),
        *((3, 4, 5), (1, 2), (1, 1, 5)),
    ),
    "instance 1-D": Row(layers.InstanceNormalization, (3, 6, 4), (1,), (1, 1, 4)),
    "instance 2-D first": Row(
        lambda **k: layers.InstanceNormalization(axis=1, **k), (3, 4, 5, 2), (2, 3), (1, 4, 1, 1)
    ),
    "instance 3-D": Row(layers.InstanceNormalization, (2, 3, 2, 2, 4), (1, 2, 3), (1, 1, 1, 1, 4)),
    "instance 3-D first": Row(
        lambda **k: layers.InstanceNormalization(axis=1, **k),
        *((2, 4, 3, 2, 2), (2, 3, 4), (1, 4, 1, 1, 1)),
    ),
    "instance, element scale": Row(
        lambda **k: layers.InstanceNormalization(scale_shape="element", **k),
        *((2, 3, 4, 5), (1, 2), (1, 3, 4, 5)),
    ),
    "instance, element scale first": Row(
        lambda **k: layers.InstanceNormalization(axis=1, scale_shape="element", **k),
        *((2, 3, 4, 5), (2, 3), (1, 3, 4, 5)),
    ),
    "group dense": Row(lambda **k: layers.GroupNormalization(2, **k), (4, 6), (2,), (1, 2, 3), (4, 2, 3)),
    "group 1-D first": Row(
        lambda **k: layers.GroupNormalization(3, axis=1, **k),
        *((3, 6, 4), (2, 3), (1, 3, 2, 1), (3, 3, 2, 4)),
    ),
    "group 2-D": Row(
        lambda **k: layers.GroupNormalization(2, **k),
        *((3, 4, 2, 6), (1, 2, 4), (1, 1, 1, 2, 3), (3, 4, 2, 2, 3)),
    ),
    "group 3-D": Row(
        lambda **k: layers.GroupNormalization(2, **k),
        *((2, 2, 3, 2, 4), (1, 2, 3, 5), (1, 1, 1, 1, 2, 2), (2, 2, 3, 2, 2, 2)),
    ),
    "group 3-D first": Row(
        lambda **k: layers.GroupNormalization(2, axis=1, **k),
        *((2, 4, 2, 3, 2), (2, 3, 4, 5), (1, 2, 2, 1, 1, 1), (2, 2, 2, 2, 3, 2)),
    ),
    "group, group scale": Row(
        lambda **k: layers.GroupNormalization(2, scale_shape="group", **k),
        *((3, 4, 2, 6), (1, 2, 4), (1, 1, 1, 2, 1), (3, 4, 2, 2, 3)),
    ),
    "group, element scale first": Row(
        lambda **k: layers.GroupNormalization(2, axis=1, scale_shape="element", **k),
        *((3, 4, 2, 5), (2, 3, 4), (1, 2, 2, 2, 5), (3, 2, 2, 2, 5)),
    ),
    "group, group element scale": Row(
        lambda **k: layers.GroupNormalization(2, scale_shape="group_element", **k),
        *((3, 4, 2, 6), (1, 2, 4), (1, 4, 2, 2, 1), (3, 4, 2, 2, 3)),
    ),
    "group, group element scale first": Row(
        lambda **k: layers.GroupNormalization(2, axis=1, scale_shape="group_element", **k),
        *((3, 4, 2, 5), (2, 3, 4), (1, 2, 1, 2, 5), (3, 2, 2, 2, 5)),
    ),
    "batch dense": Row(layers.BatchNormalization, (8, 3), (0,), (1, 3)),
    "batch 2-D": Row(layers.BatchNormalization, (4, 3, 2, 5), (0, 1, 2), (1, 1, 1, 5)),
    "batch 2-D first": Row(
        lambda **k: layers.BatchNormalization(axis=1, **k), (4, 3, 2, 5), (0, 2, 3), (1, 3, 1, 1)
    ),
    "batch 3-D": Row(layers.BatchNormalization, (2, 3, 2, 2, 4), (0, 1, 2, 3), (1, 1, 1, 1, 4)),
    "batch, unit": Row(lambda **k: layers.BatchNormalization(per="unit", **k), (6, 3, 2), (0,), (1, 3, 2)),
}
OF_A_SAMPLE = [name for name in ROWS if not name.startswith("batch")]


class Problem:
    """Random input, γ, β and upstream gradient of a row, float64, and the row's layer with these weights."""

    def __init__(self, row, seed=0, **options):
        rng = np.random.default_rng(seed)
        self.row = row
        self.x = rng.normal(1.0, 2.0, row.shape)
        self.upstream = rng.normal(size=row.shape)
        self.gamma, self.beta = rng.normal(1.0, 0.5, (2, *row.parameter))
        self.layer = row.make(epsilon=EPSILON, **options)
        self.layer.build(row.shape)
        self.layer.gamma.assign(self.gamma.reshape(self.layer.gamma.shape))
        self.layer.beta.assign(self.beta.reshape(self.layer.beta.shape))

    @property
    def weights(self):
        return [weight.value for weight in self.layer.trainable_variables]

    def call(self, x):
        """The layer in training mode."""
        return self.layer(x, training=True)

    def gradients(self, x, upstream):
        """Output, and gradients with respect to x, γ and β."""
        x, upstream = tf.convert_to_tensor(x), tf.convert_to_tensor(upstream)
        with tf.GradientTape() as tape:
            tape.watch(x)
            weights = self.weights
            y = self.call(x)
        return y, *tape.gradient(y, [x, *weights], output_gradients=upstream)

    def expected(self):
        """The same by the reference."""
        cut = lambda a: a.reshape(self.row.view)  # noqa: E731
        y, (by_x, by_gamma, by_beta) = reference(
            cut(self.x), self.gamma, self.beta, self.row.axes, cut(self.upstream)
        )
        shape = self.layer.gamma.shape
        parts = y.reshape(self.x.shape), by_x.reshape(self.x.shape)
        return *parts, by_gamma.reshape(shape), by_beta.reshape(shape)


def reference(h, gamma, beta, axes, upstream):
    """y and ∇h, ∇γ, ∇β: sections 10.1.3 and 10.2.1 of the chapter, line by line."""
    over = dict(axis=axes, keepdims=True)
    m = np.prod([h.shape[axis] for axis in axes])
    mu = h.mean(**over)
    root = np.sqrt(((h - mu) ** 2).mean(**over) + EPSILON)
    h1 = (h - mu) / root
    shared = tuple(axis for axis, length in enumerate(gamma.shape) if length == 1)
    by_beta = upstream.sum(shared, keepdims=True)
    by_gamma = (upstream * h1).sum(shared, keepdims=True)
    by_h1 = gamma * upstream
    by_mu = (-by_h1 / root).sum(**over)
    by_variance = (-0.5 * (h - mu) / root**3 * by_h1).sum(**over)
    return gamma * h1 + beta, (by_h1 / root + by_mu / m + 2 / m * (h - mu) * by_variance, by_gamma, by_beta)


@pytest.fixture(params=ROWS)
def row(request):
    """Each row in turn."""
    return ROWS[request.param]


@pytest.fixture(params=OF_A_SAMPLE)
def row_of_a_sample(request):
    """Each row whose layer normalises every sample by itself."""
    return ROWS[request.param]


@pytest.fixture(scope="session")
def rows():
    """All rows by name."""
    return ROWS


@pytest.fixture(scope="session")
def problem():
    """problem(row, seed, **options): a layer with random weights, and its data."""
    return Problem


@pytest.fixture(scope="session")
def normalized():
    """normalized(x, axes): x̂ in float64 NumPy."""

    def run(x, axes):
        x = np.asarray(x, np.float64)
        return reference(x, np.ones([1] * x.ndim), np.zeros([1] * x.ndim), axes, x)[0]

    return run


@pytest.fixture(scope="session")
def saved_and_loaded():
    """saved_and_loaded(model, path): what a `.keras` file brings back."""

    def run(model, path):
        model.save(path / "model.keras")
        return keras.saving.load_model(path / "model.keras")

    return run
