"""The normalisations against torch.nn's, forward and backward; runs where torch is installed."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt import layers

torch = pytest.importorskip("torch")

SHAPE = (4, 6, 5, 8)  # channels first, as torch has them
SPACE = (4, 6, 5, 3, 2)
CASES = {
    "layer": (
        lambda **k: layers.LayerNormalization(axis=(1, 2, 3), **k),
        lambda: torch.nn.LayerNorm(SHAPE[1:]),
        SHAPE,
    ),
    "layer, last axis": (layers.LayerNormalization, lambda: torch.nn.LayerNorm(8), SHAPE),
    "group": (
        lambda **k: layers.GroupNormalization(3, axis=1, **k),
        lambda: torch.nn.GroupNorm(3, 6),
        SHAPE,
    ),
    "group dense": (
        lambda **k: layers.GroupNormalization(3, **k),
        lambda: torch.nn.GroupNorm(3, 24),
        (4, 24),
    ),
    "instance 2-D": (
        lambda **k: layers.InstanceNormalization(axis=1, **k),
        lambda: torch.nn.InstanceNorm2d(6, affine=True),
        SHAPE,
    ),
    "instance 1-D": (
        lambda **k: layers.InstanceNormalization(axis=1, **k),
        lambda: torch.nn.InstanceNorm1d(6, affine=True),
        SHAPE[:3],
    ),
    "batch 2-D": (
        lambda **k: layers.BatchNormalization(axis=1, momentum=0.9, **k),
        lambda: torch.nn.BatchNorm2d(6),
        SHAPE,
    ),
    "batch cumulative": (
        lambda **k: layers.BatchNormalization(axis=1, momentum=None, **k),
        lambda: torch.nn.BatchNorm2d(6, momentum=None),
        SHAPE,
    ),
    "instance 3-D": (
        lambda **k: layers.InstanceNormalization(axis=1, **k),
        lambda: torch.nn.InstanceNorm3d(6, affine=True),
        SPACE,
    ),
    "batch 3-D": (
        lambda **k: layers.BatchNormalization(axis=1, momentum=0.9, **k),
        lambda: torch.nn.BatchNorm3d(6),
        SPACE,
    ),
    "batch dense": (layers.BatchNormalization, lambda: torch.nn.BatchNorm1d(6, momentum=0.01), (8, 6)),
}


def ours(make, shape, data, dtype):
    """Layer after one training call, output, and gradients of x, γ, β."""
    x, upstream, gamma, beta = (tf.cast(part, dtype) for part in data)
    layer = make(epsilon=1e-5, dtype={"bfloat16": "mixed_bfloat16"}.get(dtype, dtype))
    layer.build(shape)
    layer.gamma.assign(tf.reshape(gamma, layer.gamma.shape))
    layer.beta.assign(tf.reshape(beta, layer.beta.shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        weights = [layer.gamma.value, layer.beta.value]
        y = layer(x, training=True)
    found = [y, *tape.gradient(y, [x, *weights], output_gradients=upstream)]
    return layer, [tf.cast(part, tf.float64).numpy().ravel() for part in found]


def theirs(make, data, dtype):
    """The same by torch."""
    kind = getattr(torch, dtype)
    module = make().to(torch.float64 if dtype == "float64" else torch.float32)
    x, upstream, gamma, beta = (torch.tensor(part) for part in data)
    x, upstream = x.to(kind).requires_grad_(), upstream.to(kind)
    with torch.no_grad():
        module.weight.copy_(gamma.to(kind).reshape(module.weight.shape))
        module.bias.copy_(beta.to(kind).reshape(module.bias.shape))
    if dtype == "bfloat16":  # torch wants one dtype; the weights above are exact in it
        module = module.to(kind)
    y = module(x)
    y.backward(upstream)
    found = [y, x.grad, module.weight.grad, module.bias.grad]
    return module, [part.detach().to(torch.float64).numpy().ravel() for part in found]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 3e-6), ("bfloat16", 2.0**-6)]
)
def test_outputs_and_gradients(name, dtype, tolerance):
    make, make_theirs, shape = CASES[name]
    size = make_theirs().weight.shape
    rng = np.random.default_rng(0)
    data = [*rng.normal(1.0, 2.0, size=(2, *shape)), *rng.normal(1.0, 0.5, size=(2, *size))]
    layer, found = ours(make, shape, data, dtype)
    module, expected = theirs(make_theirs, data, dtype)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max(), rtol=0)
    if dtype == "float64" and isinstance(layer, layers.BatchNormalization):
        np.testing.assert_allclose(layer.moving_mean, module.running_mean, rtol=1e-12)
        rate, n = 1.0 if module.momentum is None else module.momentum, np.prod(shape) // 6
        batch = (module.running_var.numpy() - (1 - rate)) / rate * (n - 1) / n  # torch divides by n − 1
        np.testing.assert_allclose(layer.moving_variance, (1 - rate) + rate * batch, rtol=1e-12)
