"""One optimizer's update of a set of variables as a contender: a function without arguments."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks._gradients import packed
from benchmarks._timing import time_once


class Step:
    """An update and what it acts on; all gradients are handed over as one argument."""

    def __init__(self, optimizer, gradients, jit_compile=False):
        self.optimizer, self.jit_compile = optimizer, jit_compile
        self.feed(gradients)
        self.variables = [keras.Variable(tf.zeros(g.shape)) for g in gradients]
        self.build_seconds = time_once(lambda: optimizer.build(self.variables))
        self.function = self._new_function()

    def __call__(self):
        self.function(self.argument)

    def feed(self, gradients):
        """Take other gradients of the same shapes."""
        self.gradients = gradients
        self.argument, self.unpack = packed(gradients, self.jit_compile)

    def trace(self):
        """A newly traced graph."""
        return self._new_function().get_concrete_function(self.argument).graph

    def _new_function(self):
        # A new closure, because TensorFlow remembers what it traced by the Python function.
        return tf.function(lambda packed: self._apply(packed), jit_compile=self.jit_compile, autograph=False)

    def _apply(self, argument):
        self.optimizer.apply(self.unpack(argument), self.variables)


def random_gradients(shapes):
    """Gradients for variables of these shapes."""
    rng = np.random.default_rng(0)
    return [tf.constant(rng.standard_normal(shape, np.float32)) for shape in shapes]
