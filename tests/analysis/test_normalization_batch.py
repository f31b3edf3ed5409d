"""Batches for batch normalisation: errors against samples, the last batch, bad input."""

import keras
import numpy as np
import pytest

import tfopt
from tfopt.analysis import normalization_batch


def model_of(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


def normalized():
    layers = [keras.layers.BatchNormalization(name="a"), tfopt.layers.BatchNormalization(name="b")]
    frozen = keras.layers.BatchNormalization(trainable=False, name="c")
    return model_of(*layers, keras.layers.Dense(2), frozen)


@pytest.mark.parametrize("n", [8, 64])
def test_errors_are_those_of_samples(n):
    found = normalization_batch(normalized(), n)
    batches = np.random.default_rng(0).normal(2.0, 3.0, size=(20_000, n))
    assert found.mean_error == pytest.approx(batches.mean(axis=1).std() / 3.0, rel=0.02)
    assert found.deviation_error == pytest.approx(batches.std(axis=1, ddof=1).std() / 3.0, rel=0.05)


def test_small_batches_are_named():
    found = normalization_batch(normalized(), 3)
    assert found.layers == ("a", "b")
    (finding,) = found.findings
    assert finding.name == "batch too small for batch normalisation"
    assert "2 layers" in finding.sentence
    assert "3 samples" in finding.sentence
    assert "50 %" in finding.sentence
    assert "GroupNormalization" in finding.advice


def test_one_sample_shows_no_deviation():
    found = normalization_batch(normalized(), 1)
    assert found.deviation_error == float("inf")
    assert "any amount" in found.findings[0].sentence


def test_the_last_batch_of_an_epoch():
    assert [f.name for f in normalization_batch(normalized(), 32, 65).findings] == [
        "last batch too small for batch normalisation"
    ]
    assert normalization_batch(normalized(), 32, 65).last == 1
    assert normalization_batch(normalized(), 32, 64).last == 32
    assert normalization_batch(normalized(), 32, 64).findings == []
    assert normalization_batch(normalized(), 32, 3).findings[0].name.startswith("batch too small")


def test_the_bound_and_models_without_it():
    assert normalization_batch(normalized(), 16).findings == []
    assert len(normalization_batch(normalized(), 16, least=17).findings) == 1
    without = model_of(keras.layers.Dense(2), keras.layers.LayerNormalization())
    assert normalization_batch(without, 1).findings == []


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"batch": 0}, "batch=0"),
        ({"batch": 2.5}, "batch=2.5"),
        ({"samples": 0}, "samples=0"),
        ({"least": 1}, "least=1"),
        ({"model": "net"}, "keras.Model"),
    ],
)
def test_bad_input(change, part):
    arguments = {"model": normalized(), "batch": 8} | change
    with pytest.raises(ValueError, match=r"normalization_batch\(") as error:
        normalization_batch(**arguments)
    assert part in str(error.value)
