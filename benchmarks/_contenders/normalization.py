"""Normalisation forward and backward as several libraries compute it.

A contender is made from a `Case`; a call makes one forward and one backward pass and returns when they are
done, with y and the gradients with respect to x, γ and β, x and y channels last.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfopt
from benchmarks._bandwidth import THREADS

EPSILON = 1e-3
GROUPS = 32


class Case(NamedTuple):
    """What is normalised: kind of layer ("layer", "group", "instance" or "batch"), shape, dtype."""

    kind: str
    shape: tuple
    dtype: str

    def data(self):
        """x and ∇y, in float32 NumPy: numbers that half precision holds."""
        rng = np.random.default_rng(0)
        x = rng.normal(1.0, 2.0, self.shape)
        upstream = rng.normal(size=self.shape)
        return [tf.cast(tf.cast(part, self.dtype), tf.float32).numpy() for part in (x, upstream)]


class TensorFlow:
    """A Keras layer in a graph, or in one that XLA compiles."""

    def __init__(self, case, make, jit_compile):
        dtype = case.dtype if case.dtype == "float32" else f"mixed_{case.dtype}"
        self.layer = make(dtype)
        self.given = [tf.cast(part, case.dtype) for part in case.data()]
        self.layer.build(case.shape)

        def step(x, upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = self.layer(x, training=True)
            gradients = tape.gradient(y, [x, self.layer.gamma.value, self.layer.beta.value], upstream)
            return y, *gradients

        self.step = tf.function(step, autograph=False, jit_compile=jit_compile)

    def __call__(self):
        return self.step(*self.given)


class Torch:
    """The same of torch.nn, channels first as they are there."""

    def __init__(self, case):
        import torch

        torch.set_num_threads(THREADS)
        channels = case.shape[-1]
        make = {
            "layer": lambda: torch.nn.LayerNorm(channels, eps=EPSILON),
            "group": lambda: torch.nn.GroupNorm(GROUPS, channels, eps=EPSILON),
            "instance": lambda: torch.nn.InstanceNorm2d(channels, eps=EPSILON, affine=True),
            "batch": lambda: torch.nn.BatchNorm2d(channels, eps=EPSILON),
        }
        dtype = getattr(torch, case.dtype)
        # Parameters stay float32, as in mixed precision.
        self.layer = make[case.kind]()
        self.first = case.kind != "layer"
        self.x, self.upstream = (self.moved(torch.tensor(part)).to(dtype) for part in case.data())
        self.x.requires_grad_()

    def moved(self, x):
        """Channels first."""
        return x.movedim(-1, 1).contiguous() if self.first else x

    def __call__(self):
        for tensor in (self.x, self.layer.weight, self.layer.bias):
            tensor.grad = None
        y = self.layer(self.x)
        y.backward(self.upstream)
        return y, self.x.grad, self.layer.weight.grad, self.layer.bias.grad

    def arrays(self):
        """What a call gives, channels last, in float32 NumPy."""
        y, by_x, *others = (part.detach().float() for part in self())
        back = (part.movedim(1, -1) if self.first else part for part in (y, by_x))
        return [part.numpy() for part in (*back, *others)]


def own(case, fused=True, jit_compile=False):
    """tfopt's layer."""
    layers = {
        "layer": tfopt.layers.LayerNormalization,
        "group": lambda **k: tfopt.layers.GroupNormalization(GROUPS, **k),
        "instance": tfopt.layers.InstanceNormalization,
        "batch": tfopt.layers.BatchNormalization,
    }
    make = lambda dtype: layers[case.kind](epsilon=EPSILON, dtype=dtype, fused=fused)  # noqa: E731
    return TensorFlow(case, make, jit_compile)


def of_keras(case, jit_compile=False):
    """Keras' layer; a group for each channel is its instance normalisation."""
    layers = {
        "layer": keras.layers.LayerNormalization,
        "group": lambda **k: keras.layers.GroupNormalization(GROUPS, **k),
        "instance": lambda **k: keras.layers.GroupNormalization(-1, **k),
        "batch": keras.layers.BatchNormalization,
    }
    return TensorFlow(case, lambda dtype: layers[case.kind](epsilon=EPSILON, dtype=dtype), jit_compile)


def arrays(contender):
    """What a call gives, in float32 NumPy."""
    if isinstance(contender, Torch):
        return contender.arrays()
    return [tf.cast(part, tf.float32).numpy() for part in contender()]


def exact(case):
    """The same from the formulas, in float64."""
    x, g = (part.astype(np.float64) for part in case.data())
    if case.kind == "group":
        x, g = (part.reshape(*case.shape[:-1], GROUPS, -1) for part in (x, g))
    axes = {"layer": (-1,), "group": (1, 2, 4), "instance": (1, 2), "batch": (0, 1, 2)}[case.kind]
    over = dict(axis=axes, keepdims=True)
    root = np.sqrt(x.var(**over) + EPSILON)
    normal = (x - x.mean(**over)) / root
    by_x = (g - g.mean(**over) - normal * (g * normal).mean(**over)) / root
    sums = [part.reshape(-1, case.shape[-1]).sum(0) for part in (g * normal, g)]
    return [*(part.reshape(case.shape) for part in (normal, by_x)), *sums]
