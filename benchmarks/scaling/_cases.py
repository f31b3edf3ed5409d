"""What the workers train: a method on a network, and how many numbers a step sums over the workers."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

import tfopt

INPUTS, CLASSES = 784, 10
FLOAT = 4  # bytes


@dataclasses.dataclass(frozen=True)
class Case:
    """A method on a network of one hidden layer.

    Attributes:
        method: Name of an optimizer of tfopt.
        hidden: Units.
        inputs: Numbers of a sample.
        summed: From the number of weights to that of the numbers that a step sums over the workers.
    """

    method: str
    hidden: int
    inputs: int = INPUTS
    summed: Callable = lambda n: n

    @property
    def weights(self):
        """Number of weights."""
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * CLASSES

    @property
    def payload(self):
        """Bytes that a step sums over the workers, in float32."""
        return FLOAT * self.summed(self.weights)

    def model(self):
        """The compiled model, which starts the same everywhere."""
        keras.utils.set_random_seed(0)
        hidden = keras.layers.Dense(self.hidden, "tanh")
        model = keras.Sequential([keras.Input((self.inputs,)), hidden, keras.layers.Dense(CLASSES)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(getattr(tfopt, self.method)(), loss, jit_compile=False)
        return model

    def samples(self, batch):
        """Random images and labels: what they hold makes no difference to the time of a step."""
        rng = np.random.default_rng(0)
        return rng.normal(size=(batch, self.inputs)).astype("float32"), rng.integers(0, CLASSES, batch)


CASES = {
    "Adam, 10⁵": Case("Adam", 126),
    "Adam, 10⁶": Case("Adam", 1258),
    "Adam, 4·10⁶": Case("Adam", 5031),
    "LBFGS, 10⁶": Case("LBFGS", 1258, summed=lambda n: n + 1),
    "NewtonCG, 10⁶": Case("NewtonCG", 1258, summed=lambda n: 2 * n + 1),
    "Newton, 10³": Case("Newton", 30, inputs=22, summed=lambda n: n * n + n + 1),
}
TINY = {"Adam, 10": Case("Adam", 2, inputs=3), "LBFGS, 10": Case("LBFGS", 2, inputs=3)}
