"""Weights that have no gradient in some steps or in all, and weights frozen between two fits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.callbacks import EvaluationWeights

MOMENTUM = keras.optimizers.schedules.PolynomialDecay(0.3, 20, 0.9)
KEEPING = {
    "use_ema": lambda **o: tfopt.SGD(0.1, use_ema=True, ema_momentum=0.8, **o),
    "use_ema, overwritten": lambda **o: tfopt.SGD(
        0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=3, **o
    ),
    "mean": lambda **o: tfopt.PolyakAverage(tfopt.SGD(0.1, **o)),
    "exponential mean": lambda **o: tfopt.PolyakAverage(tfopt.Nesterov(0.1, MOMENTUM, **o), decay=0.8),
    "smoothing": lambda **o: tfopt.GaussianSmoothing(tfopt.SGD(0.1, **o), 0.05, samples=2, seed=1),
    "nesterov": lambda **o: tfopt.Nesterov(0.1, MOMENTUM, **o),
    "rmsprop": lambda **o: tfopt.RMSProp(0.01, momentum=MOMENTUM, nesterov=True, **o),
    "nadam": lambda **o: tfopt.NAdam(0.01, form="lookahead", **o),
}
QUICK = ("use_ema", "mean", "nesterov")
keeping = pytest.mark.parametrize("name", KEEPING)
some_keeping = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in KEEPING]
)
both = pytest.mark.parametrize("fused", [True, False])
wraps = pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "graph"])


def weights(*values):
    return [keras.Variable(value, dtype="float64", name=f"w{k}") for k, value in enumerate(values)]


WAYS = [(True, tf.function), (False, lambda step: step)]


@keeping
@pytest.mark.parametrize(("fused", "wrap"), WAYS, ids=["fused, graph", "rule, eager"])
def test_a_weight_that_never_has_one_stays(name, fused, wrap):
    used, idle = weights([1.0, 2.0], [3.0, 4.0])
    optimizer = KEEPING[name](fused=fused)
    optimizer.build([used, idle])
    step = wrap(lambda: optimizer.apply([tf.ones(2, tf.float64), None], [used, idle]))
    for _ in range(6):
        step()
    optimizer.finalize_variable_values([used, idle])
    np.testing.assert_allclose(idle.numpy(), [3.0, 4.0], rtol=1e-15)
    assert np.all(used.numpy() < [1.0, 2.0])


def alternated(optimizer, wrap=lambda step: step, updates=4):
    """What becomes of a and b, one of which has its gradient, its own value, in every other update."""
    a, b = weights(1.0, 1.0)
    optimizer.build([a, b])

    def step():
        optimizer.apply([a * 1.0], [a])
        optimizer.apply([b * 1.0], [b])

    step = wrap(step)
    for _ in range(updates):
        step()
    optimizer.finalize_variable_values([a, b])
    return float(a), float(b)


def descended(places, updates=8):
    """A weight's iterates under gradient descent that finds a gradient at some updates."""
    value, iterates = 1.0, []
    for t in range(updates):
        value *= 0.9 if t % 2 == places else 1.0
        iterates.append(value)
    return iterates


@both
@wraps
def test_averages_are_over_all_updates(wrap, fused):
    found = alternated(tfopt.PolyakAverage(tfopt.SGD(0.1, fused=fused)), wrap)
    np.testing.assert_allclose(found, [np.mean(descended(place)) for place in (0, 1)], rtol=1e-6)


@both
@wraps
@pytest.mark.parametrize("frequency", [None, 3])
def test_use_ema_is_kerass(wrap, fused, frequency):
    options = dict(use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=frequency)
    found = alternated(tfopt.SGD(0.1, fused=fused, **options), wrap)
    np.testing.assert_allclose(found, alternated(keras.optimizers.SGD(0.1, **options), wrap), rtol=1e-6)


@wraps
def test_without_noise_smoothing_is_the_inner_optimizer(wrap):
    found = alternated(tfopt.GaussianSmoothing(tfopt.Nesterov(0.1, MOMENTUM, fused=False), 0.0), wrap)
    assert found == alternated(tfopt.Nesterov(0.1, MOMENTUM, fused=False), wrap)


@both
@wraps
def test_the_point_ahead_is_that_of_each_update(wrap, fused):
    """Momentum that grows: gradients are wanted ever farther ahead of a weight that waits for one."""

    def expected(place):
        theta, v = 1.0, 0.0
        for t in range(8):
            momentum = float(MOMENTUM(t))
            if t % 2 == place:
                v = momentum * v - 0.1 * (theta + momentum * v)
                theta += v
        return theta

    found = alternated(tfopt.Nesterov(0.1, MOMENTUM, fused=fused), wrap)
    np.testing.assert_allclose(found, [expected(0), expected(1)], rtol=1e-6)


@some_keeping
def test_on_two_replicas_too(name, strategy):
    with strategy.scope():
        used, idle, waiting = weights([1.0, 2.0], [3.0, 4.0], [5.0, 6.0])
        optimizer = KEEPING[name]()
        optimizer.build([used, idle, waiting])

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([used * 0.5, None, None], [used, idle, waiting]))
        strategy.run(lambda: optimizer.apply([waiting * 0.5], [waiting]))

    for _ in range(4):
        step()
    optimizer.finalize_variable_values([used, idle, waiting])
    expected = alone(KEEPING[name]())
    for found, value in zip((used, idle, waiting), expected, strict=True):
        for replica in strategy.experimental_local_results(found.value):
            np.testing.assert_allclose(replica.numpy(), value, rtol=1e-12)


def alone(optimizer):
    """The same on one device, whose gradients are sums over the replicas."""
    used, idle, waiting = weights([1.0, 2.0], [3.0, 4.0], [5.0, 6.0])
    optimizer.build([used, idle, waiting])
    for _ in range(4):
        optimizer.apply([used * 1.0, None, None], [used, idle, waiting])
        optimizer.apply([waiting * 1.0], [waiting])
    optimizer.finalize_variable_values([used, idle, waiting])
    return [v.numpy() for v in (used, idle, waiting)]


@keeping
@both
def test_nothing_is_shown_but_the_weights_before_the_first_update(name, fused):
    (weight,) = weights([1.0, 2.0])
    optimizer = KEEPING[name](fused=fused)
    optimizer.build([weight])
    weight.assign([3.0, 4.0])
    for switch in (optimizer.to_evaluation_weights, optimizer.to_training_weights):
        switch()
        assert weight.numpy().tolist() == [3.0, 4.0]
    optimizer.finalize_variable_values([weight])
    assert weight.numpy().tolist() == [3.0, 4.0]


X = np.random.default_rng(0).normal(size=(32, 4))
Y = X.sum(1, keepdims=True)


def model_with(optimizer):
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    model = keras.Sequential(
        [keras.Input((4,)), dense(3, "tanh", dtype="float64"), dense(1, dtype="float64")]
    )
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def freeze(model, frozen):
    model.layers[0].trainable = not frozen
    model.compile(model.optimizer, "mse", jit_compile=False)


@some_keeping
@pytest.mark.parametrize("callbacks", [[], [EvaluationWeights()]], ids=["plain", "shown"])
def test_a_layer_that_is_frozen_stays_and_can_be_trained_again(name, callbacks):
    model = model_with(KEEPING[name]())
    fit = lambda *more: model.fit(X, Y, batch_size=8, verbose=0, callbacks=[*callbacks, *more])  # noqa: E731
    fit()
    freeze(model, True)
    kernel, seen = model.layers[0].kernel.numpy(), []
    note = lambda batch, logs: seen.append(model.layers[0].kernel.numpy())  # noqa: E731
    fit(keras.callbacks.LambdaCallback(on_train_batch_end=note))
    assert len(seen) == 4
    for value in (*seen, model.layers[0].kernel.numpy()):
        np.testing.assert_array_equal(value, kernel)
    freeze(model, False)
    fit()
    assert np.abs(model.layers[0].kernel.numpy() - kernel).max() > 1e-3


def test_weights_of_both_kinds_in_one_update_are_refused():
    a, b = weights(1.0, 1.0)
    optimizer = tfopt.Nesterov(0.1)
    optimizer.build([a, b])
    optimizer.apply([a * 1.0, b * 1.0], [a, b])
    optimizer.to_evaluation_weights()
    optimizer.apply([a * 1.0], [a])
    with pytest.raises(tf.errors.InvalidArgumentError, match="call the optimizer's to_evaluation_weights"):
        optimizer.apply([a * 1.0, b * 1.0], [a, b])
    optimizer.to_evaluation_weights()
    optimizer.apply([a * 1.0, b * 1.0], [a, b])
