"""Guards of the private hooks that tfopt/repair/_glue.py stands on: each is named and seen to work."""

import inspect

import keras
import tensorflow as tf

from tfopt.repair import _glue


def test_compute_moments_is_where_keras_takes_its_statistics(monkeypatch):
    calls = []

    def seen(x, axes, keepdims):
        calls.append((tuple(axes), keepdims))
        return tf.zeros((1, 2)), tf.ones((1, 2))

    owner, name = _glue.MOMENTS.owner, _glue.MOMENTS.name
    assert name == "_compute_moments"
    assert list(inspect.signature(getattr(owner, name)).parameters) == ["x", "axes", "keepdims"]
    monkeypatch.setattr(owner, name, seen)
    keras.ops.moments(tf.ones((3, 2)), axes=[0], keepdims=True)
    assert calls == [((0,), True)]


def test_flatten_layers_reaches_wrapped_layers():
    inner = keras.layers.BatchNormalization()
    wrapped = keras.layers.TimeDistributed(inner)
    model = keras.Sequential([keras.Input((3, 2)), keras.Sequential([wrapped])])
    found = _glue.layers_within(model)
    assert inner in found
    assert "_flatten_layers" in inspect.getsource(_glue)
