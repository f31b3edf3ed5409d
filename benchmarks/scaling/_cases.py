"""What the workers train: a method on a network, and how many numbers a step sums over the workers."""

import dataclasses

import keras
import numpy as np

import tfopt

INPUTS, CLASSES = 784, 10
FLOAT = 4  # bytes
# Numbers that a step sums over the workers, of n weights.
SUMMED = {
    "Adam": lambda n: n,
    "LBFGS": lambda n: n + 1,
    "NewtonCG": lambda n: 2 * n + 1,
    "Newton": lambda n: n * n + n + 1,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A method on a network of one hidden layer.

    Attributes:
        method: Name of an optimizer of tfopt.
        hidden: Units.
        inputs: Numbers of a sample.
    """

    method: str
    hidden: int
    inputs: int = INPUTS

    @property
    def weights(self):
        """Number of weights."""
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * CLASSES

    @property
    def payload(self):
        """Bytes that a step sums over the workers, in float32."""
        return FLOAT * SUMMED[self.method](self.weights)

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
    "LBFGS, 10⁶": Case("LBFGS", 1258),
    "NewtonCG, 10⁶": Case("NewtonCG", 1258),
    "Newton, 10³": Case("Newton", 30, inputs=22),
}
TINY = {"Adam, 10": Case("Adam", 2, inputs=3), "LBFGS, 10": Case("LBFGS", 2, inputs=3)}
