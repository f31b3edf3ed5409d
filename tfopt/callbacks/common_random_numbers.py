"""CommonRandomNumbers: the same dropout masks at every evaluation of a line search."""

import keras
import numpy as np

from tfopt._check import require, require_integer
from tfopt.callbacks._glue import seed_generators, train_steps
from tfopt.optimizers._glue import MachineOptimizer


class CommonRandomNumbers(keras.callbacks.Callback):
    r"""Holds the model's seeds still while it trains, so that a line search compares values of one function.

    `Dropout`, `GaussianNoise` and other layers with a `keras.random.SeedGenerator` draw anew at every train
    step. With s the state of their generators, the loss a step sees is one of many functions J(θ; s), and a
    method that searches a line, one evaluation per train step, compares J(θ; s₁) with J(θ + αd; s₂). This
    callback sets the generators to the same s before every evaluation:

        J_s(θ) = J(θ; s),   s fixed until it is renewed

    Minimising J_s for long fits the weights to one choice of masks, so s is renewed: at the start of every
    epoch (``"epoch"``), after every k accepted iterates (an integer), or never (None). J is then another
    function; a direction method of tfopt's goes back to its iterate, evaluates it anew and starts without its
    history (`optimizer.restart()`), so let an epoch, or k, hold as many iterates as the history is to have.
    Optimizers without a line search keep their state.

    With `gradient_accumulation_steps` one evaluation is a whole pass: its batches differ in their masks, and
    passes do not. When training ends the generators go on from where one evaluation has left them. Validation
    and prediction are not touched. Numbers that do not come from a `SeedGenerator` of a layer are not held:
    TensorFlow's own random operations, and shuffling of the data.

    Args:
        renew: "epoch", None, or k >= 1.

    Raises:
        ValueError: If `renew` is none of these; at the start of `fit`, if `steps_per_execution` is not 1 (the
            steps inside one execution would draw new numbers), or `renew` counts iterates of an optimizer
            without a line search.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> noisy = keras.layers.Dropout(0.5, seed=1)
        >>> model = keras.Sequential([keras.Input((4,)), noisy, keras.layers.Dense(1)])
        >>> model.compile(tfopt.SGD(1e-12), "mse")
        >>> x, one = np.ones((8, 4)), tfopt.callbacks.CommonRandomNumbers(renew=None)
        >>> losses = model.fit(x, x[:, 0], batch_size=8, epochs=3, verbose=0, callbacks=[one]).history["loss"]
        >>> len(set(losses))  # three evaluations of one function
        1

    Source: Kleinman, Spall and Naiman, Simulation-Based Optimization with Stochastic Approximation Using
    Common Random Numbers, 1999; chapter section 7.1 for the line search.
    """

    def __init__(self, renew="epoch"):
        super().__init__()
        if renew not in ("epoch", None):
            named = isinstance(renew, str)
            require(not named, "CommonRandomNumbers", "renew", renew, 'one of "epoch", None, or an integer')
            require_integer("CommonRandomNumbers", 1, renew=renew)
        self.renew = renew
        self._held: list = []
        self._renewed_at = 0.0

    def on_train_begin(self, logs=None):
        """Take the generators' states as they are: numbers that no search under way has seen."""
        steps = self.model.steps_per_execution
        expected = "1, since the steps inside one execution would draw new numbers"
        require(steps == 1, "CommonRandomNumbers", "steps_per_execution", steps, expected)
        counted = self.renew in ("epoch", None) or self._searches()
        expected = '"epoch" or None for an optimizer without a line search'
        require(counted, "CommonRandomNumbers", "renew", self.renew, expected)
        self._renew()

    def on_epoch_begin(self, epoch, logs=None):
        """Another function from here, if it is time."""
        if self.renew == "epoch" and self._used():
            self._renew()

    def on_train_batch_begin(self, batch, logs=None):
        """The same numbers again, at the start of an evaluation."""
        if self._starts_an_evaluation():
            for generator, state in self._held:
                generator.state.assign(state)

    def on_train_batch_end(self, batch, logs=None):
        """Another function from here, if it is time."""
        if self.renew in ("epoch", None):
            return
        if self._optimizer().state_value("iterations") >= self._renewed_at + self.renew:
            self._renew()

    def _renew(self):
        """Go on from where an evaluation has left the generators, with a method that knows it."""
        generators = seed_generators(self.model)
        self._held = [(generator, generator.state.numpy()) for generator in generators]
        if self._held and self._searches():
            self._optimizer().restart()
            self._renewed_at = float(self._optimizer().state_value("iterations"))

    def _used(self):
        """Whether an evaluation has drawn from the generators since they were held."""
        return any(not np.array_equal(generator.state.numpy(), state) for generator, state in self._held)

    def _starts_an_evaluation(self):
        optimizer = self._optimizer()
        if self._searches():
            return not optimizer.state_value("accumulated")
        return train_steps(optimizer) % (optimizer.gradient_accumulation_steps or 1) == 0

    def _searches(self):
        optimizer = self._optimizer()
        return isinstance(optimizer, MachineOptimizer) and optimizer.machine.flat

    def _optimizer(self):
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
