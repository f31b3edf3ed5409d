"""The place where a fused kernel plugs in, exercised by a stand-in that computes Adam in place."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import registry


class StandIn:
    """Adam for one weight at a time with TensorFlow's own in-place operations; counts its calls."""

    def __init__(self, dtypes=(tf.float32, tf.float64)):
        self.dtypes, self.calls = dtypes, 0

    def supports(self, weights):
        return all(w.dtype in self.dtypes for w in weights)

    def __call__(self, gradients, weights, slots, scalars, following, keep):
        self.calls += 1
        for g, p, m, v, s, k in zip(gradients, weights, *slots, scalars, keep, strict=True):
            if k is not None:
                p.assign(p * k)
            m.assign_add((g - m) * s.one_minus_beta_1)
            v.assign_add((g * g - v) * s.one_minus_beta_2)
            p.assign_sub(s.rate * m / (tf.sqrt(v) + s.epsilon))


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.delenv("TFOPT_KERNELS", raising=False)
    kernel = StandIn()
    registry.register("adam", kernel)
    yield kernel
    registry.unregister("adam")


def run(steps=5, **options):
    weights = [keras.Variable(np.linspace(-1, 1, 6).reshape(2, 3)), keras.Variable(np.ones(4))]
    optimizer = tfopt.Adam(0.1, **options)
    optimizer.build(weights)

    @tf.function
    def step(scale):
        optimizer.apply([tf.fill((2, 3), scale), tf.constant([1.0, -2.0, 30.0, 0.0]) * scale], weights)

    for k in range(steps):
        step(tf.constant(0.5 - k))
    return [w.numpy() for w in [*weights, *optimizer.variables]]


def assert_fused_equals_rule(kernel, **options):
    fused, rule = run(**options), run(fused=False, **options)
    assert kernel.calls == 1  # traced once, by the fused run alone
    for a, b in zip(fused, rule, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1, "weight_decay_exclude": ["variable"]},
        {"weight_decay": 0.1},
        {"global_clipnorm": 1.0, "skip_nonfinite": True},
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    ],
    ids=lambda o: "+".join(o) or "plain",
)
def test_kernel_runs_in_place_of_the_rule_and_agrees(stand_in, options):
    assert_fused_equals_rule(stand_in, **options)


def test_kernel_is_reported(stand_in):
    assert "adam" in registry.status()


def test_environment_switches_kernels_off(stand_in, monkeypatch):
    monkeypatch.setenv("TFOPT_KERNELS", "off")
    run()
    assert stand_in.calls == 0


def test_another_rule_does_not_use_it(stand_in):
    run(epsilon_mode="inside")
    assert stand_in.calls == 0


def test_unsupported_dtypes_run_the_rule(stand_in):
    stand_in.dtypes = (tf.bfloat16,)
    run()
    assert stand_in.calls == 0


def test_constraints_run_the_rule(stand_in):
    dense = keras.layers.Dense(1, kernel_constraint="non_neg")
    dense.build((None, 2))
    tfopt.Adam(1.0).apply([tf.ones((2, 1))], [dense.kernel])
    assert stand_in.calls == 0
    assert dense.kernel.numpy().min() == 0
