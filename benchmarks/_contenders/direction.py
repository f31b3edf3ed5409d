"""One step of L-BFGS on a quadratic whose gradient is one product, as several libraries make it.

A contender owns its weights. `step()` makes one step with one evaluation, `evaluate()` the evaluation alone;
both return when they are done. Libraries other than TensorFlow are imported only when one is made.
"""

import keras
import numpy as np
import tensorflow as tf

import tfopt
from benchmarks._bandwidth import THREADS

HISTORY = 10


def curvatures(size):
    """Diagonal of the Hessian, float32: many values, so that no step finds the minimum."""
    return np.random.default_rng(0).uniform(0.1, 10.0, size).astype("float32")


class Tfopt:
    """`tfopt.LBFGS` in a graph, or in one that XLA compiles."""

    def __init__(self, size, jit_compile=False, fused=True):
        scale = tf.constant(curvatures(size))
        self.weights = keras.Variable(np.ones(size, "float32"))
        self.optimizer = tfopt.LBFGS(history=HISTORY, fused=fused)
        self.optimizer.build([self.weights])

        def evaluate():
            gradient = self.weights.value * scale
            return gradient, 0.5 * tf.tensordot(gradient, self.weights.value, 1)

        def step():
            gradient, loss = evaluate()
            self.optimizer.scale_loss(loss)
            self.optimizer.apply([gradient], [self.weights])

        self.step = tf.function(step, autograph=False, jit_compile=jit_compile)
        self.evaluate = tf.function(evaluate, autograph=False, jit_compile=jit_compile)

    def loss(self):
        """The loss where the weights are now."""
        return float(self.evaluate()[1])


class Torch:
    """`torch.optim.LBFGS` with a step of fixed length: one evaluation each."""

    def __init__(self, size):
        import torch

        torch.set_num_threads(THREADS)
        self.torch, self.scale = torch, torch.tensor(curvatures(size))
        self.weights = torch.ones(size, requires_grad=True)
        self.optimizer = torch.optim.LBFGS(
            [self.weights], max_iter=1, history_size=HISTORY, tolerance_grad=0.0, tolerance_change=0.0
        )

    def step(self):
        """One iteration."""
        self.optimizer.step(self.evaluate)

    def evaluate(self):
        """Loss, with its gradient at the weights."""
        with self.torch.no_grad():
            self.weights.grad = self.weights * self.scale
            return 0.5 * self.torch.dot(self.weights.grad, self.weights)

    def loss(self):
        """The loss where the weights are now."""
        return float(self.evaluate())


class Optax:
    """``optax.lbfgs`` without a line search under ``jax.jit``, in buffers that it gets back."""

    def __init__(self, size):
        import jax
        import optax

        rule = optax.lbfgs(learning_rate=1.0, memory_size=HISTORY, linesearch=None)
        scale = jax.numpy.array(curvatures(size))

        def evaluate(weights):
            gradient = weights * scale
            return gradient, 0.5 * jax.numpy.dot(gradient, weights)

        def step(weights, state):
            gradient, _ = evaluate(weights)
            updates, state = rule.update(gradient, state, weights)
            return optax.apply_updates(weights, updates), state

        self.jax = jax
        self.weights = jax.numpy.ones(size)
        # A buffer cannot be given away twice, as the state would with what it has of the weights.
        self.state = jax.tree.map(lambda leaf: jax.numpy.array(leaf, copy=True), rule.init(self.weights))
        self._step, self._evaluate = jax.jit(step, donate_argnums=(0, 1)), jax.jit(evaluate)

    def step(self):
        """One iteration."""
        self.weights, self.state = self._step(self.weights, self.state)
        self.jax.block_until_ready(self.weights)

    def evaluate(self):
        """Gradient and loss at the weights."""
        return self.jax.block_until_ready(self._evaluate(self.weights))

    def loss(self):
        """The loss where the weights are now."""
        return float(self.evaluate()[1])
