"""One optimizer's update of a set of variables as a contender: a function without arguments."""

import keras
import numpy as np
import tensorflow as tf

# Handing over an argument costs as much as updating a small variable.
MANY = 500


class Step:
    """An update and what it acts on; more than `MANY` gradients are cut from one tensor inside the graph."""

    def __init__(self, optimizer, gradients, jit_compile=False):
        self.optimizer, self.gradients, self.jit_compile = optimizer, gradients, jit_compile
        self.variables = [keras.Variable(tf.zeros(g.shape)) for g in gradients]
        optimizer.build(self.variables)
        self.function = self._new_function()

    def __call__(self):
        self.function(self.gradients)

    def trace(self):
        """A newly traced graph."""
        return self._new_function().get_concrete_function(self.gradients).graph

    def _new_function(self):
        # A new closure, because TensorFlow remembers what it traced by the Python function.
        return tf.function(lambda g: self._apply(g), jit_compile=self.jit_compile, autograph=False)

    def _apply(self, gradients):
        self.optimizer.apply(tf.unstack(gradients) if tf.is_tensor(gradients) else gradients, self.variables)


def random_gradients(shapes):
    """Gradients for variables of these shapes: a list, or one stacked tensor where they are many."""
    rng = np.random.default_rng(0)
    if len(shapes) > MANY:
        return tf.constant(rng.standard_normal((len(shapes), *shapes[0]), np.float32))
    return [tf.constant(rng.standard_normal(shape, np.float32)) for shape in shapes]
