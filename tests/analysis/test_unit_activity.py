"""Dead and saturated units: planted ones, exact slopes, where they are looked for, bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.analysis import unit_activity

X = np.linspace(-1.0, 1.0, 40)[:, None]


def model_of(*layers, width=1):
    return keras.Sequential([keras.Input((width,)), *layers, keras.layers.Dense(1, name="out")])


def planted(activation, kernel, bias):
    layer = keras.layers.Dense(len(bias), activation, name="hidden")
    model = model_of(layer)
    layer.set_weights([np.array([kernel], float), np.array(bias, float)])
    return model


def test_a_planted_dead_relu():
    found = unit_activity(planted("relu", [1, 1, -1, 0], [0, -2, 0, 1]), X)
    (layer,) = found.layers
    assert (layer.name, layer.activation, layer.units, layer.samples) == ("hidden", "relu", 4, 40)
    assert layer.dead == (1,)
    assert layer.saturated == ()
    np.testing.assert_allclose(layer.slopes, [0.5, 0, 0.5, 1])
    (finding,) = found.findings
    assert finding.name == "dead units in hidden"
    assert "1 of 4 units of relu (1)" in finding.sentence
    assert "ReLUBias" in finding.advice


def test_one_sample_that_fires_makes_it_alive():
    (layer,) = unit_activity(planted("relu", [1], [-0.99]), X).layers
    assert (layer.dead, layer.saturated) == ((), (0,))
    (layer,) = unit_activity(planted("relu", [1], [-0.99]), X, share=1.0).layers
    assert (layer.dead, layer.saturated) == ((), ())


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("sigmoid", lambda z: 4 / (1 + np.exp(-z)) / (1 + np.exp(z))),
        ("tanh", lambda z: np.cosh(z) ** -2.0),
        ("softsign", lambda z: (1 + abs(z)) ** -2.0),
        ("softplus", lambda z: 1 / (1 + np.exp(-z))),
        ("elu", lambda z: np.minimum(np.exp(z), 1)),
        ("hard_sigmoid", lambda z: abs(z) < 3),
        ("hard_tanh", lambda z: abs(z) < 1),
        ("relu6", lambda z: (z > 0) & (z < 6)),
    ],
)
def test_slopes_are_those_of_the_activation(activation, slope):
    kernel, bias = np.array([1.0, 4.0, 9.5]), np.array([0.0, 2.0, -3.0])
    (layer,) = unit_activity(planted(activation, kernel, bias), X).layers
    expected = slope(X * kernel + bias)
    np.testing.assert_allclose(layer.slopes, expected.mean(axis=0), rtol=1e-6)
    flat = np.mean(expected < 0.05, axis=0) >= 0.95
    dead = np.all(expected == 0, axis=0)
    assert layer.dead == tuple(np.flatnonzero(dead))
    assert layer.saturated == tuple(np.flatnonzero(flat & ~dead))


def test_a_saturated_sigmoid():
    found = unit_activity(planted("sigmoid", [1, 1], [0, 8]), X)
    assert found.layers[0].saturated == (1,)
    assert [finding.name for finding in found.findings] == ["saturated units in hidden"]
    assert "normalisation" in found.findings[0].advice


def test_outputs_may_be_certain():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, "sigmoid", bias_initializer="ones")])
    assert unit_activity(model, X).layers == ()


def test_batches_and_data_sets_count_as_one():
    model = planted("tanh", [1, 3, 0], [0, 4, 5])
    (whole,) = unit_activity(model, X).layers
    for x, options in [(X, {"batch_size": 7}), (tf.data.Dataset.from_tensor_slices((X, X)).batch(7), {})]:
        (parts,) = unit_activity(model, x, **options).layers
        np.testing.assert_allclose(parts.slopes, whole.slopes, rtol=1e-12)
        assert parts[:5] + parts[6:] == whole[:5] + whole[6:]


def test_channels_are_the_units_of_convolutions():
    conv = keras.layers.Conv1D(2, 1, activation="relu", name="conv")
    model = keras.Sequential([keras.Input((5, 1)), conv, keras.layers.Flatten(), keras.layers.Dense(1)])
    conv.set_weights([np.array([[[1.0, 1.0]]]), np.array([0.0, -2.0])])
    (layer,) = unit_activity(model, X.reshape(8, 5, 1)).layers
    assert (layer.units, layer.dead, layer.samples) == (2, (1,), 40)


def test_activations_of_their_own_wrapped_shared_and_inner():
    shared = keras.layers.Dense(2, "relu", kernel_initializer="ones", bias_initializer="zeros", name="shared")
    inner = keras.Sequential([keras.Input((2,)), keras.layers.ReLU(name="own")], name="inner")
    x = keras.Input((2,))
    middle = inner(shared(shared(x)))
    model = keras.Model(x, keras.layers.Dense(1)(middle))
    found = {layer.name: layer for layer in unit_activity(model, -np.ones((3, 2))).layers}
    assert set(found) == {"shared", "own"}
    assert found["shared"].samples == 6
    assert found["shared"].dead == found["own"].dead == (0, 1)


def test_nothing_of_the_model_changes():
    keras.utils.set_random_seed(0)
    model = model_of(
        keras.layers.BatchNormalization(), keras.layers.Dense(4, "relu"), keras.layers.Dropout(0.5)
    )
    before = [v.numpy() for v in model.variables]
    calls = [layer.call for layer in model.layers]
    unit_activity(model, X)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.variables, strict=True))
    assert [layer.call for layer in model.layers] == calls


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"slope": 0}, "slope=0"),
        ({"share": 1.5}, "share=1.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"x": np.ones((0, 1))}, "at least one"),
        ({"model": keras.Sequential([keras.layers.Dense(1)])}, "built"),
    ],
)
def test_bad_input(change, part):
    arguments = {"model": planted("relu", [1], [0]), "x": X} | change
    with pytest.raises(ValueError, match=r"unit_activity\(") as error:
        unit_activity(**arguments)
    assert part in str(error.value)
