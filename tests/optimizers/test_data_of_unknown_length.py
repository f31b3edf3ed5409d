"""Where data end, Keras' train step is run once more, without a batch: nothing of it must remain."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

X = np.random.default_rng(0).normal(size=(24, 3))
Y = X.sum(1, keepdims=True)
OPTIMIZERS = {
    "mean": lambda **o: tfopt.PolyakAverage(tfopt.SGD(0.05, **o)),
    "accumulation": lambda **o: tfopt.Adam(0.05, gradient_accumulation_steps=2, skip_nonfinite=True, **o),
    "carried": lambda **o: tfopt.NAdam(0.05, **o),
    "schedule": lambda **o: tfopt.Momentum(tfopt.schedules.LinearDecay(0.05, 20), **o),
    "samples": lambda **o: tfopt.GaussianSmoothing(tfopt.SGD(0.05, **o), 0.05, samples=2, seed=1),
    "turns": lambda **o: tfopt.BlockCoordinateDescent(tfopt.Adam(0.05, **o), steps_per_block=2),
    "search": lambda **o: tfopt.LBFGS(**o),
    "search, accumulation": lambda **o: tfopt.ConjugateGradient(gradient_accumulation_steps=3, **o),
    "products": lambda **o: tfopt.NewtonCG(gradient_accumulation_steps=3, **o),
}


def trained(make, known):
    """Weights and state after three epochs of three batches."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh"), keras.layers.Dense(1)])
    model.compile(make(), "mse", jit_compile=False)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    if not known:
        batches = batches.filter(lambda x, y: True)
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    return [(v.path, v.numpy()) for v in [*model.weights, *model.optimizer.variables]]


QUICK = [("mean", True), ("accumulation", False), ("carried", True), ("search, accumulation", True)]
ROWS = [
    pytest.param(name, fused, marks=() if (name, fused) in QUICK else pytest.mark.slow)
    for name in OPTIMIZERS
    for fused in (True, False)
]


@pytest.mark.parametrize(("name", "fused"), ROWS)
def test_training_is_the_same_as_on_data_whose_length_is_known(name, fused):
    make = lambda: OPTIMIZERS[name](fused=fused)  # noqa: E731
    for (path, found), (_, expected) in zip(trained(make, False), trained(make, True), strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=path)
