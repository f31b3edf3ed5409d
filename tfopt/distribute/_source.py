"""Where batches come from: the coordinator deals them out, or every worker reads its own."""

import keras
import tensorflow as tf

from tfopt._check import require, require_integer
from tfopt.distribute import _glue


def source_of(coordinator, x, steps, names=("fit", "x", "steps_per_epoch"), **data):
    """The source for what `fit` was given.

    Args:
        coordinator: A `tf.distribute.coordinator.ClusterCoordinator`.
        x: Inputs as Keras' `fit` takes them, or a function without arguments that returns a dataset.
        steps: Batches of an epoch, or None for as many as there are.
        names: The method that was called, and its arguments `x` and `steps`, for messages.
        **data: Further arguments of `fit` about the data.
    """
    within = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    expected, owner = "a call outside of every strategy's scope()", f"AsynchronousTrainer.{names[0]}"
    require(within is None, owner, "strategy", within, expected)
    if callable(x) and not isinstance(x, keras.utils.PyDataset):
        given = sorted(name for name, value in data.items() if name != "shuffle" and value is not None)
        require(
            not given,
            owner,
            ", ".join(given),
            [type(data[name]).__name__ for name in given],
            f"None, since the function given as {names[1]} makes the dataset with all that is in it",
        )
        return FromWorkers(coordinator, x, steps, names)
    return FromCoordinator(x=x, steps_per_epoch=steps, **data)


class FromCoordinator:
    """The batches that Keras' `fit` would train on, in that order, each sent to the next free worker.

    Every sample is seen once in an epoch, however fast or slow a worker is.
    """

    def __init__(self, **data):
        self._batches = _glue.batches_like_fit(**data)
        # Shapes without the number of samples: the last batch may be smaller.
        self.spec = self._begun().element_spec
        self.restart()

    @property
    def steps(self):
        """Batches of an epoch, None where it is not known before the first has ended."""
        return self._batches.num_batches

    def _begun(self):
        return next(iter(self._batches))[-1]

    def first(self):
        """The first batch, which an epoch still begins with."""
        batch = next(self._begun())
        self.restart()
        return batch

    def restart(self):
        """Let the next epoch begin with the first batch, as every validation does."""
        _glue.restart(self._batches)

    def pass_over(self, epochs):
        """Read what was trained on before, so that the next epoch has the batches that followed."""
        for _ in range(epochs):
            for _ in self.epoch():
                pass

    def epoch(self):
        """What to send along with each step of an epoch."""
        with self._batches.catch_stop_iteration():
            for _, _, iterator in self._batches:
                yield next(iterator)


class FromWorkers:
    """Every worker makes a dataset of its own and reads from it as fast as it can."""

    def __init__(self, coordinator, function, steps, names):
        method, x, count = names
        owner = f"AsynchronousTrainer.{method}"
        require(steps is not None, owner, count, steps, f"a number with a function as {x}")
        require_integer(owner, 1, **{count: steps})
        dataset = function()
        expected = f"a function that returns a tf.data.Dataset, not {dataset!r}"
        require(isinstance(dataset, tf.data.Dataset), owner, x, function, expected)
        endless = dataset.cardinality() < 0
        require(endless, owner, x, function, "a function whose dataset goes on for ever: add .repeat()")
        captured = tf.function(function, autograph=False).get_concrete_function().captured_inputs
        inside = all(tensor.dtype != tf.variant for tensor in captured)
        require(inside, owner, x, function, "a function that makes its dataset itself, from the beginning")
        self.spec = dataset.element_spec
        self.steps = steps
        self._dataset = dataset
        self._iterator = iter(coordinator.create_per_worker_dataset(function))

    def first(self):
        """A batch as the workers read them."""
        return next(iter(self._dataset))

    def restart(self):
        """Nothing: every worker goes on where it is."""

    def pass_over(self, epochs):
        """Nothing: who has read what was up to the workers then."""

    def epoch(self):
        """What to send along with each step of an epoch."""
        for _ in range(self.steps):
            yield self._iterator
