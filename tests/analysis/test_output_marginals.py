"""Outputs against the labels' marginals: labels of known marginals, every kind of output, bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.analysis import output_marginals

X = np.ones((20, 2))
LABELS = np.array([0] * 12 + [1] * 6 + [2] * 2)


def zeros(units, activation=None, name="out"):
    return keras.layers.Dense(units, activation, kernel_initializer="zeros", name=name)


def model_of(units, loss, activation=None):
    model = keras.Sequential([keras.Input((2,)), zeros(units, activation)], name="net")
    model.compile(loss=loss)
    return model


def entropy(p):
    p = np.asarray(p)
    return -np.sum(p * np.log(p))


SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("loss", "activation"), [("sparse_categorical_crossentropy", "softmax"), (SPARSE, None)]
)
def test_labels_of_known_marginals(loss, activation):
    model = model_of(3, loss, activation)
    found = output_marginals(model, X, LABELS)
    (one,) = found.outputs
    assert one.activation == "softmax"
    np.testing.assert_allclose(one.labels, [0.6, 0.3, 0.1])
    np.testing.assert_allclose(one.predicted, [1 / 3] * 3, rtol=1e-6)
    assert one.gap == pytest.approx(np.log(3) - entropy([0.6, 0.3, 0.1]), rel=1e-6)
    np.testing.assert_allclose(one.bias, np.log([0.6, 0.3, 0.1]), rtol=1e-6)
    (finding,) = found.findings
    assert finding.name == "output bias of net far from the labels' marginals"
    assert "0.333 against a share of 0.6" in finding.sentence
    assert "OutputBias" in finding.advice


def test_the_suggested_bias_closes_the_gap_and_gains_what_it_says():
    model = model_of(3, SPARSE)
    before, (one,) = model.evaluate(X, LABELS, verbose=0), output_marginals(model, X, LABELS).outputs
    model.layers[-1].bias.assign(one.bias)
    after = output_marginals(model, X, LABELS)
    assert after.outputs[0].gap < 1e-9
    assert after.findings == []
    assert before - model.evaluate(X, LABELS, verbose=0) == pytest.approx(one.gap, rel=1e-5)


def test_one_hot_labels():
    model = model_of(3, "categorical_crossentropy", "softmax")
    (one,) = output_marginals(model, X, np.eye(3)[LABELS]).outputs
    np.testing.assert_allclose(one.labels, [0.6, 0.3, 0.1])


def test_more_units_than_classes():
    (one,) = output_marginals(model_of(5, SPARSE), X, LABELS).outputs
    np.testing.assert_allclose(one.labels, [0.6, 0.3, 0.1, 0, 0])
    assert one.gap == pytest.approx(np.log(5) - entropy([0.6, 0.3, 0.1]), rel=1e-6)


def test_sigmoid_outputs():
    y = np.stack([LABELS == 0, LABELS == 2], axis=1).astype("float32")
    (one,) = output_marginals(model_of(2, "binary_crossentropy", "sigmoid"), X, y).outputs
    np.testing.assert_allclose(one.labels, [0.6, 0.1], rtol=1e-6)
    gap = 2 * np.log(2) - entropy([0.6, 0.4]) - entropy([0.1, 0.9])
    assert one.gap == pytest.approx(gap, rel=1e-6)
    np.testing.assert_allclose(one.bias, np.log([0.6 / 0.4, 0.1 / 0.9]), rtol=1e-5)


def test_regression():
    y = np.array([[1.0, 5.0], [3.0, 5.0]] * 10)
    (one,) = output_marginals(model_of(2, "mse"), X, y).outputs
    np.testing.assert_allclose(one.labels, [2, 5])
    assert one.gap == pytest.approx((2**2 / 1 + 5**2) / 2)
    assert output_marginals(model_of(2, "mse"), X, y - [2, 5]).findings == []


def test_balanced_labels_are_no_trouble():
    assert output_marginals(model_of(3, SPARSE), X[:18], np.tile([0, 1, 2], 6)).findings == []


@pytest.mark.parametrize("names", [False, True])
def test_several_outputs(names):
    inputs = keras.Input((2,))
    outputs = {"a": zeros(3, "softmax", "a")(inputs), "b": zeros(1, None, "b")(inputs)}
    losses = {"a": "sparse_categorical_crossentropy", "b": "mae"}
    y = {"a": LABELS, "b": np.ones((20, 1))}
    if not names:
        outputs, losses, y = (list(part.values()) for part in (outputs, losses, y))
    model = keras.Model(inputs, outputs)
    model.compile(loss=losses)
    found = output_marginals(model, X, y)
    assert [one.activation for one in found.outputs] == ["softmax"]
    assert len(found.skipped) == 1
    assert "mean_absolute_error" in "".join(found.skipped.values())


def test_data_sets():
    model = model_of(3, SPARSE)
    whole = output_marginals(model, X, LABELS).outputs[0]
    for x, y, size in [
        (tf.data.Dataset.from_tensor_slices((X, LABELS)).batch(7), None, None),
        (X, LABELS, 7),
    ]:
        assert output_marginals(model, x, y, batch_size=size).outputs[0].gap == pytest.approx(whole.gap)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"model": keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])}, "compiled"),
        ({"y": None}, "labels"),
        ({"bound": 0}, "bound"),
        ({"y": LABELS + 7}, "classes"),
        ({"y": [LABELS, LABELS]}, "one for each of net"),
    ],
)
def test_bad_input(change, part):
    arguments = {"model": model_of(3, SPARSE), "x": X, "y": LABELS} | change
    with pytest.raises(ValueError) as error:
        output_marginals(**arguments)
    assert part in str(error.value)


def test_the_moving_statistics_stay():
    model = keras.Sequential([keras.Input((2,)), tfopt.layers.BatchNormalization(), zeros(3)])
    model.compile(loss=SPARSE)
    before = model.get_weights()
    output_marginals(model, X, LABELS)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
