"""The networks whose steps are timed, and the steps."""

from typing import NamedTuple

import keras
import tensorflow as tf

import tfopt


class Size(NamedTuple):
    """Dense layers, each with a kernel and a bias, and the samples of a batch."""

    layers: int
    width: int
    batch: int

    @property
    def parameters(self):
        """Number of weights."""
        return self.layers * self.width * (self.width + 1)


# Name: the optimizer, None for the gradients alone, and whether XLA compiles the step.
STEPS = {
    "gradients": (None, False),
    "fused": (tfopt.Adam, False),
    "keras": (keras.optimizers.Adam, False),
    "gradients jit": (None, True),
    "fused jit": (tfopt.Adam, True),
    "rule jit": (lambda: tfopt.Adam(fused=False), True),
    "keras jit": (keras.optimizers.Adam, True),
}


def new_step(name, size):
    """A function without arguments that does one step and returns when it is done."""
    make, jit_compile = STEPS[name]
    model = _network(size)
    variables = [v.value for v in model.trainable_variables]
    x = keras.random.normal((size.batch, size.width), seed=1)
    optimizer = make and make()
    if optimizer:
        optimizer.build(model.trainable_variables)

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - x) ** 2)
        gradients = tape.gradient(loss, variables)
        if optimizer is None:
            return gradients
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return tf.function(step, jit_compile=jit_compile, autograph=False)


def _network(size):
    keras.utils.set_random_seed(0)
    # He's initial weights keep gradients of a hundred layers from vanishing, whose squares no float32 holds.
    layers = [
        keras.layers.Dense(size.width, activation="relu", kernel_initializer="he_normal")
        for _ in range(size.layers)
    ]
    return keras.Sequential([keras.Input((size.width,)), *layers])
