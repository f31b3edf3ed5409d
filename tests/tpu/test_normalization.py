"""Every normalisation, forward and backward, compiled for a TPU v5e: its bytes against the least possible."""

import math

import pytest
import tensorflow as tf

from tfopt import layers

IMAGES = (32, 56, 56, 128)
LAYERS = {
    "LayerNormalization": (layers.LayerNormalization, (8192, 1024)),
    "GroupNormalization": (lambda **options: layers.GroupNormalization(8, **options), IMAGES),
    "InstanceNormalization": (layers.InstanceNormalization, IMAGES),
    "BatchNormalization": (layers.BatchNormalization, IMAGES),
}
# In 5 tensors: x read and y written, x and the gradient read and a gradient written. What is more than one is
# what a TPU's compiler makes of sums over a tensor that is read again: loops of their own. By fused and type.
FACTORS = {
    "LayerNormalization": {True: (3.23, 3.44), False: (3.23, 3.86)},
    "GroupNormalization": {True: (4.13, 4.34), False: (3.67, 3.88)},
    "InstanceNormalization": {True: (3.20, 3.21), False: (2.80, 3.21)},
    "BatchNormalization": {True: (3.20, 3.20), False: (2.80, 3.20)},
}
DTYPES = ("float32", "bfloat16")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_bytes_of_forward_and_backward(compiled, program_of, name, fused, dtype):
    make, shape = LAYERS[name]
    layer = make(fused=fused, dtype=dtype)
    layer.build(shape)

    def both(x, gradient):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        weights = [weight.value for weight in layer.trainable_variables]
        return y, tape.gradient(y, [x, *weights], gradient)

    report = compiled({"layer": program_of(both, tf.zeros(shape, dtype), tf.zeros(shape, dtype))})["layer"]
    least = 5 * math.prod(shape) * tf.as_dtype(dtype).size
    seen = FACTORS[name][fused][DTYPES.index(dtype)]
    assert 1.0 <= report["bytes"] / least <= 1.03 * seen
