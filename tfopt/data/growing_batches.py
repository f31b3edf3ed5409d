"""Minibatches whose size grows from epoch to epoch."""

import contextlib
import math
import secrets
import warnings

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_integer
from tfopt.data import _batch_size


def _require_arrays(**nests):
    for name, nest in nests.items():
        for leaf in keras.tree.flatten(nest):
            require(
                leaf.ndim >= 1,
                "GrowingBatches",
                name,
                f"{leaf.dtype}{leaf.shape}",
                "arrays, or nests of arrays, with the samples along the first axis",
            )


def _require_equal_lengths(data):
    lengths = [len(leaf) for leaf in keras.tree.flatten(data)]
    require(
        len(set(lengths)) == 1 and lengths[0] > 0,
        "GrowingBatches",
        "lengths",
        lengths,
        "at least one sample and the same number in x, y and sample_weight",
    )
    return lengths[0]


class GrowingBatches(keras.utils.PyDataset):
    """Samples in minibatches that grow during training, for one `model.fit`.

        epoch e is the sequence of ⌈n / b(e)⌉ batches of b(e) samples, the last one shorter

    n is the number of samples and b is `schedule`. Small batches early give many cheap, noisy steps; large
    batches late reduce the noise of the gradient estimate (its standard deviation falls like 1/√b) as
    lowering the learning rate would, and join the merits of stochastic and of full-batch descent. Every
    sample occurs exactly once in every epoch. Pass the object itself as `x` of `model.fit`; leave `y`,
    `batch_size` and `steps_per_epoch` of `fit` alone. By default `fit` also mixes the order of the batches,
    which `seed` does not govern; `fit(shuffle=False)` keeps it.

    Args:
        x: Array, or nest (tuple, list, dict) of arrays, of shape (n, …) and any dtype.
        y: Targets in the same form, or None.
        schedule: b, as a function of the epoch (0, 1, …) that returns an int, as a list (the last entry
            stays), as a dict {first epoch: size}, or as one int. It must not shrink: `model.fit` learns the
            number of steps in the first epoch and would cut longer ones off. Sizes above n mean n.
            `GrowingBatches.geometric` makes a function.
        sample_weight: Array of shape (n,) or nest of arrays, or None; needs `y`.
        shuffle: Whether every epoch has its own random order.
        seed: Integer that fixes these orders; None draws a seed.
        initial_epoch: Epoch to begin with, for a run that is resumed. Keras does not tell the data which
            epoch `fit` begins with: say it here too where `fit` gets an `initial_epoch`, and with
            `tfopt.callbacks.BackupAndRestore`, as its `next_epoch`; fix `seed` as well.

    Attributes:
        epoch: The epoch the next batches belong to; counts on over several calls of `fit`. Assign to it to
            start elsewhere.
        batch_size: b of that epoch.

    Raises:
        ValueError: If arrays differ in length or hold no sample, or `schedule` is no batch size or shrinks.

    Example:
        >>> import numpy as np, tfopt
        >>> batches = tfopt.data.GrowingBatches(np.arange(10.0), schedule=[2, 5], shuffle=False)
        >>> for _ in range(2):
        ...     print([len(x) for (x,) in batches.as_dataset()])
        [2, 2, 2, 2, 2]
        [5, 5]

    Differs from Keras: `fit(batch_size=…)` is one number for the whole run. The epochs after the first have
    fewer steps than the first, which Keras takes for an error and reports by a warning; it is silenced here.

    Source: Smith, Kindermans, Ying, Le, Don't Decay the Learning Rate, Increase the Batch Size (2018),
    section 3; Byrd, Chin, Nocedal, Wu, Sample Size Selection in Optimization Methods for Machine Learning
    (2012).
    """

    def __init__(
        self, x, y=None, schedule=None, sample_weight=None, shuffle=True, seed=None, initial_epoch=0
    ):
        # One worker: with more, Keras fetches batches of the next epoch before it says that one has begun.
        super().__init__(workers=1, use_multiprocessing=False)
        require_integer("GrowingBatches", 0, initial_epoch=initial_epoch)
        if seed is not None:
            require_integer("GrowingBatches", 0, seed=seed)
        require(
            sample_weight is None or y is not None,
            "GrowingBatches",
            "y",
            y,
            "targets, because sample_weight is given",
        )
        given = [part for part in (x, y, sample_weight) if part is not None]
        self._data = keras.tree.map_structure(np.asarray, keras.tree.lists_to_tuples(tuple(given)))
        _require_arrays(**dict(zip(("x", "y", "sample_weight"), self._data, strict=False)))
        self._n = _require_equal_lengths(self._data)
        self._schedule = _batch_size.as_function(schedule)
        self.shuffle = shuffle
        self.seed = secrets.randbits(63) if seed is None else seed
        self.epoch = initial_epoch
        self._asked = None
        self._drawn: tuple = (None, None)
        self._silence = contextlib.ExitStack()

    @staticmethod
    def geometric(start, factor=2.0, every=1, maximum=None):
        """Make a schedule that multiplies the batch size by `factor` after every `every` epochs.

        b(e) = min(round(start · factor^⌊e / every⌋), maximum)

        Args:
            start: Batch size of epoch 0, an integer >= 1.
            factor: Growth, >= 1.
            every: Number of epochs that share a batch size.
            maximum: Largest batch size; None means no limit but the number of samples.

        Returns:
            A function epoch -> batch size, for `GrowingBatches(schedule=…)`.

        Raises:
            ValueError: If an argument is out of its range.

        Example:
            >>> import tfopt
            >>> size = tfopt.data.GrowingBatches.geometric(start=32, factor=2, every=3, maximum=200)
            >>> [size(epoch) for epoch in (0, 2, 3, 6, 9, 1000)]
            [32, 32, 64, 128, 200, 200]
        """
        return _batch_size.geometric(start, factor, every, maximum)

    @property
    def batch_size(self):
        """Number of samples in all batches of the present epoch but the last."""
        size = _batch_size.require_size(self._schedule(self.epoch), self.epoch)
        if self.epoch > 0:
            before = _batch_size.require_size(self._schedule(self.epoch - 1), self.epoch - 1)
            expected = (
                f"a batch size of at least {before}, that of epoch {self.epoch - 1}: it must not shrink"
            )
            require(size >= before, "GrowingBatches", f"schedule({self.epoch})", size, expected)
        return min(size, self._n)

    @property
    def num_batches(self):
        """Number of batches in the present epoch."""
        return math.ceil(self._n / self.batch_size)

    def __len__(self):
        return self.num_batches

    def __getitem__(self, index):
        if not 0 <= index < self.num_batches:
            raise IndexError(f"GrowingBatches[{index}]: epoch {self.epoch} has {self.num_batches} batches.")
        if self._asked is not None:
            self._asked.add(index)
        rows = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        return keras.tree.map_structure(lambda array: array[rows], self._data)

    def _order(self):
        if not self.shuffle:
            return np.arange(self._n)
        key = (self.seed, self.epoch)
        cached, order = self._drawn
        if cached != key:
            order = np.random.default_rng(key).permutation(self._n)
            self._drawn = (key, order)  # one assignment: a prefetching thread may read at the same time
        return order

    def on_epoch_begin(self):
        """Start to watch which batches are asked for; called by Keras."""
        self._asked = set()
        self._silence.close()
        self._silence.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Your input ran out of data", category=UserWarning)

    def on_epoch_end(self):
        """Go on to the next epoch; called by Keras, also before the first and after a mere look at it."""
        self._silence.close()
        if self._asked is not None and len(self._asked) == self.num_batches:
            self.epoch += 1
        self._asked = None

    def as_dataset(self):
        """Return a `tf.data.Dataset` of which every complete pass is one epoch, with that epoch's batch size.

        For training loops of your own; in `model.fit` hand over the object itself. All datasets made from one
        object share its `epoch`, which moves on when the last batch of a pass is handed out.

        Returns:
            A dataset of tuples (x,), (x, y) or (x, y, sample_weight), batched, of unknown cardinality.

        Example:
            >>> import numpy as np, tfopt
            >>> batches = tfopt.data.GrowingBatches(np.arange(6), schedule={0: 2, 1: 3})
            >>> [len(list(batches.as_dataset())) for epoch in range(2)]
            [3, 2]
        """

        def one_epoch():
            count = len(self)
            for index in range(count):
                batch = self[index]
                if index == count - 1:
                    self.epoch += 1
                yield batch

        signature = keras.tree.map_structure(
            lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), self._data
        )
        return tf.data.Dataset.from_generator(one_epoch, output_signature=signature)
