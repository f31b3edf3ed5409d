"""Contenders on TensorFlow: optimizers with `build` and `apply`, in a graph."""

import keras
import tensorflow as tf

import tfopt
from benchmarks._contenders import ADAM
from benchmarks._steps import Step


class InGraph:
    """A Keras optimizer's update."""

    def __init__(self, gradients, optimizer, jit_compile=False):
        self.step = Step(optimizer, _tensors(gradients), jit_compile)

    def __call__(self):
        self.step()

    def feed(self, gradients):
        """Replace the gradients."""
        self.step.feed(_tensors(gradients))

    def weights(self):
        """The weights."""
        return [v.numpy() for v in self.step.variables]


class RawAdam:
    """TensorFlow's own operation, once per variable."""

    def build(self, variables):
        """Slots and the powers of β₁ and β₂."""
        self.slots = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in variables]
        self.powers = [tf.Variable(ADAM["beta_1"]), tf.Variable(ADAM["beta_2"])]

    def apply(self, gradients, variables):
        """One update."""
        for g, v, (mean, square) in zip(gradients, variables, self.slots, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=v.value.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=self.powers[0],
                beta2_power=self.powers[1],
                lr=ADAM["learning_rate"],
                beta1=ADAM["beta_1"],
                beta2=ADAM["beta_2"],
                epsilon=ADAM["epsilon"],
                grad=g,
            )
        for power, beta in zip(self.powers, (ADAM["beta_1"], ADAM["beta_2"]), strict=True):
            power.assign(power * beta)


def fused(gradients):
    """tfopt's kernel."""
    return InGraph(gradients, tfopt.Adam(**ADAM))


def fused_jit(gradients):
    """tfopt's kernel in a graph compiled by XLA."""
    return InGraph(gradients, tfopt.Adam(**ADAM), jit_compile=True)


def plain_keras(gradients):
    """Keras' class."""
    return InGraph(gradients, keras.optimizers.Adam(**ADAM))


def keras_jit(gradients):
    """Keras' class in a graph compiled by XLA."""
    return InGraph(gradients, keras.optimizers.Adam(**ADAM), jit_compile=True)


def raw_op(gradients):
    """``tf.raw_ops.ResourceApplyAdam``."""
    return InGraph(gradients, RawAdam())


def _tensors(gradients):
    return [tf.constant(g) for g in gradients]
