"""Orders of the change by a simultaneous update: a product of units, a linear model, a network."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.analysis import layer_interaction


def orders_of_a_product(w, rate):
    """First, second and higher order of Π(w_i − εg_i) − Πw_i, by multiplying out; rows of the layers."""
    g = np.array([math.prod(np.delete(w, i)) for i in range(len(w))])
    d = -rate * g
    totals, rows = np.zeros(3), np.zeros((len(w), 3))
    for size in range(1, len(w) + 1):
        for chosen in itertools.combinations(range(len(w)), size):
            term = math.prod(d[i] if i in chosen else w[i] for i in range(len(w)))
            order = min(size, 3) - 1
            totals[order] += term
            for i in chosen:
                rows[i, order] += term / size
    return totals, rows


@pytest.mark.parametrize("weights", [(0.5, 0.8, 0.3, 0.9), (2.0, 1.5, 3.0, 1.2), (1.0,) * 8])
def test_one_unit_per_layer(weights):
    """The example of the chapter, with x = 1."""
    rate = 0.05
    found = layer_interaction(
        lambda w: tf.reduce_prod(tf.stack(w)),
        [tf.constant(w, tf.float64) for w in weights],
        learning_rate=rate,
    )
    totals, rows = orders_of_a_product(np.array(weights), rate)
    sign = np.sign(totals.sum())
    np.testing.assert_allclose(
        [found.first, found.second, found.higher], sign * totals, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose([row[1:] for row in found.layers], sign * rows, rtol=1e-9, atol=1e-12)
    assert found.change == pytest.approx(abs(totals.sum()), rel=1e-10)


def test_large_weights_make_layers_interfere():
    small, large = (
        layer_interaction(lambda w: tf.reduce_prod(tf.stack(w)), [tf.constant(v)] * 6, learning_rate=0.1)
        for v in (0.3, 2.0)
    )
    assert small.beyond_first < 0.05 < 0.5 < large.beyond_first
    assert small.findings == []
    assert large.findings[0].name == "layers interfere"


def linear_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="float64", name="only")])
    model.compile(loss="mse")
    return model


def test_outputs_linear_in_the_weights_have_first_order_alone():
    x, y = np.random.default_rng(0).normal(size=(7, 3)), np.random.default_rng(1).normal(size=(7, 2))
    found = layer_interaction(linear_model(), x, y, learning_rate=0.7)
    assert found.first == pytest.approx(found.change, rel=1e-12)
    assert abs(found.second) + abs(found.higher) < 1e-12
    assert [row.name for row in found.layers] == ["only"]


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 5}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)], ids=str
)
def test_a_network(classifier, gradient_of, options):
    model, x, y = classifier()
    before = model.get_weights()
    rate = 0.8
    found = layer_interaction(model, x, y, learning_rate=rate, **options)
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)
    step = -rate * gradient_of(model, x, y)
    start = np.concatenate([np.ravel(w) for w in before])
    shapes = [w.shape for w in before]
    ends = np.cumsum([w.size for w in before])[:-1]

    def outputs(s):
        vector = start + s * step
        model.set_weights([p.reshape(k) for p, k in zip(np.split(vector, ends), shapes, strict=True)])
        return model(x).numpy()

    move = outputs(1.0) - outputs(0.0)
    assert found.change == pytest.approx(np.linalg.norm(move), rel=1e-6)
    u = move / np.linalg.norm(move)
    q = {s: np.sum(u * outputs(s)) for s in (-1e-3, 0.0, 1e-3)}
    assert found.first == pytest.approx((q[1e-3] - q[-1e-3]) / 2e-3, rel=1e-4)
    assert found.second == pytest.approx((q[1e-3] - 2 * q[0.0] + q[-1e-3]) / 2e-6, rel=1e-3)
    assert sum(row.change for row in found.layers) == pytest.approx(found.change, rel=1e-6)
    assert found.first + found.second + found.higher == pytest.approx(found.change, rel=1e-6)
    assert len(found.layers) == 2


def test_several_outputs_and_inputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    hidden = keras.layers.Dense(4, "tanh")(keras.layers.Concatenate()([a, b]))
    model = keras.Model(
        {"a": a, "b": b}, [keras.layers.Dense(2, name="p")(hidden), keras.layers.Dense(1)(hidden)]
    )
    model.compile(loss=["mse", "mse"])
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(6, 3)), "b": rng.normal(size=(6, 2))}
    found = layer_interaction(model, x, [rng.normal(size=(6, 2)), rng.normal(size=(6, 1))], learning_rate=0.3)
    assert len(found.layers) == 3
    assert sum(row.change for row in found.layers) == pytest.approx(found.change, rel=1e-5)


def test_nothing_moves_at_a_critical_point():
    found = layer_interaction(lambda w: tf.reduce_sum(w**2), tf.zeros(3), learning_rate=0.1)
    assert (found.change, found.beyond_first, found.findings) == (0.0, 0.0, [])


def test_bad_rates():
    with pytest.raises(ValueError, match=r"layer_interaction\(learning_rate=-1\)"):
        tfopt.analysis.layer_interaction(linear_model(), np.ones((2, 3)), np.ones((2, 2)), learning_rate=-1)
