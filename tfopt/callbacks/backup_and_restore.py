"""BackupAndRestore: training that was killed goes on as if it had not been."""

import functools
import io
import logging

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_integer
from tfopt.callbacks import _glue
from tfopt.callbacks._backups import Backups
from tfopt.callbacks._random_state import random_state, set_random_state

log = logging.getLogger("tfopt")

WEIGHTS = "model.weights.h5"
STATE = "state.npz"


class BackupAndRestore(keras.callbacks.Callback):
    r"""Backs training up, at the end of epochs or in their midst; a run that was killed goes on from there.

    Start the same program again: `fit` begins with the epoch that was under way, passes over the batches of
    it that were trained on already, and ends at the weights of a run that was never interrupted, to the bit
    where the strategy is deterministic. Saved are weights, optimizer, seeds of dropout and the like, metrics
    so far, the states of Python's and NumPy's random numbers at the start of the epoch, and the place in the
    data.

    A backup is written under another name, brought to the disk and renamed, so there is no moment at which a
    kill leaves less than the last good one; the one before is kept too, so have room for three. Before a
    backup is read its checksums are compared, and one that is damaged is passed over, with a line in the log
    ("tfopt"). When the disk is full, or fails, the log says so and training goes on. The file is made in
    memory first.

    Differs from Keras' callback of this name, which writes into the only file it has, so that a kill while it
    saves ends with an `OSError` at the next start (with ``double_checkpoint=True`` two files are copied one
    after the other); writes the epoch to a second file, so that weights and epoch may not belong together;
    starts the epoch over when it saved in its midst, training on some batches twice; does not save the seeds
    of dropout; and ends the process with a segmentation fault, in HDF5, when the disk is full.

    Data come in the same order again if the program makes it the same: `keras.utils.set_random_seed` for
    arrays; a `tf.data` pipeline with fixed seeds, finite and of known size, or endless with
    ``steps_per_epoch``. Under strategies with several replicas pipelines that reshuffle are repeated from
    their first order. A `tfopt.data.GrowingBatches` counts epochs by itself and is not told where `fit` goes
    on: make it with a fixed `seed` and ``initial_epoch=backup.next_epoch``.

    With several workers each must reach the same `backup_dir`; the first of them writes. With
    `tfopt.distribute.AsynchronousTrainer` the servers rest while a backup is made.

    Args:
        backup_dir: Folder for the backups, for nothing else, and for one training.
        save_freq: "epoch", or an integer for every so many batches.
        delete_checkpoint: Remove the backups when training has ended.

    Attributes:
        next_epoch: The epoch, counted from 0, that `fit` will begin with: that of the newest good backup.

    Raises:
        ValueError: If an argument is not what it should be, or, at the start of `fit`, if the model is not
            built or the backup is of another model.

    Example:
        >>> import keras, numpy as np, tempfile, tfopt
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(tfopt.Adam(0.1), "mse")
        >>> x, folder = np.ones((8, 1)), tempfile.mkdtemp()
        >>> backup = tfopt.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        >>> _ = model.fit(x, x, epochs=2, verbose=0, callbacks=[backup])
        >>> backup = tfopt.callbacks.BackupAndRestore(folder)
        >>> model.fit(x, x, epochs=3, verbose=0, callbacks=[backup]).epoch  # the first two are done
        [2]

    Source: none; the order of writing, fsync and rename is POSIX' own.
    """

    def __init__(self, backup_dir, save_freq="epoch", delete_checkpoint=True):
        super().__init__()
        require(backup_dir, "BackupAndRestore", "backup_dir", backup_dir, "the path of a folder")
        if save_freq != "epoch":
            require_integer("BackupAndRestore", 1, save_freq=save_freq)
        self.backup_dir = backup_dir
        self.save_freq = save_freq
        self.delete_checkpoint = delete_checkpoint
        self.resumed_batches = 0
        self._backups = Backups(backup_dir)
        self._epoch = 0
        self._since = 0
        self._before = 0
        self._random: dict = {}
        self._pending: dict | None = None

    @property
    def next_epoch(self):
        """The epoch that `fit` will begin with; 0 without a backup."""
        found, _ = self._backups.read()
        return found[1]["epoch"] if found else 0

    def on_train_begin(self, logs=None):
        """Take up the newest good backup."""
        built = self.model.built
        require(built, "BackupAndRestore", "model", self.model, "a model that is built before fit")
        self._since = self.resumed_batches = 0
        self._backups.sweep()
        found, bad = self._backups.read()
        for name in bad:
            log.warning("BackupAndRestore: %s in %s is damaged and was passed over.", name, self.backup_dir)
        place = {"epoch": 0, "batch": 0, "iterators": 0, "position": 0}
        state: dict = {}
        if found:
            place, state = found[1], self._restore(*found)
        metrics = functools.partial(_assign, "metric", self.model, state)
        self._data = _glue.DataWatch(self.model, place, metrics)

    def on_epoch_begin(self, epoch, logs=None):
        """Note the random numbers that the epoch's data begin with; put back those of the epoch under way."""
        self._epoch, self._before = epoch, 0
        if self._pending is not None:
            set_random_state(self._pending)
            self._pending = None
            # This `fit` has begun there; a next one of the same model begins where it is told to.
            _glue.begin_with(self.model, None)
        self._random = random_state()

    def on_train_batch_end(self, batch, logs=None):
        """Save, where it is time."""
        done, self._before = batch + 1 - self._before, batch + 1
        if self.save_freq == "epoch" or batch < self.resumed_batches:
            return
        self._since += done
        if self._since >= self.save_freq:
            self._since = 0
            self._save(self._epoch, batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        """Save, where it is time."""
        self.resumed_batches = 0
        if self.save_freq == "epoch":
            self._save(epoch + 1, 0)

    def on_train_end(self, logs=None):
        """Remove the backups of a training that has ended."""
        self._data.stop()
        if self._pending is not None:  # It had ended before.
            self._pending = None
            _glue.begin_with(self.model, None)
        if self.delete_checkpoint and self._writes():
            self._backups.clear()

    def _writes(self):
        # Elsewhere than on the first of several workers, what is read is read together and not written.
        return self.model.distribute_strategy.extended.should_checkpoint

    def _save(self, epoch, batch):
        # In the midst of an epoch its data are made again, from the random numbers of its beginning.
        state = _state(self.model) | (self._random if batch else random_state())
        place = self._data.place(epoch, batch)
        if not self._writes():
            return

        arrays = io.BytesIO()
        np.savez(arrays, **state)
        files = {WEIGHTS: _glue.weights_file(self.model), STATE: arrays.getvalue()}
        try:
            self._backups.write(files, place)
        except OSError as error:
            log.warning(
                "BackupAndRestore: no backup of epoch %d, batch %d was saved in %s (%s); the last one stays.",
                epoch,
                batch,
                self.backup_dir,
                error,
            )

    def _restore(self, folder, place):
        """Take up a backup; returns the state that is not in the weights' file."""
        model = self.model
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / WEIGHTS)
        with np.load(folder / STATE, allow_pickle=False) as file:
            state = dict(file)
        _assign("seed", model, state)
        self._pending, self.resumed_batches = state, place["batch"]
        _glue.begin_with(model, place["epoch"])
        return state


def _variables(model):
    """Variables that the weights' file does not hold."""
    seeds = [generator.state for generator in _glue.seed_generators(model)]
    return {"seed": seeds, "metric": model.metrics_variables}


def _state(model):
    return {
        f"{part}_{number}": np.asarray(tf.convert_to_tensor(variable))
        for part, variables in _variables(model).items()
        for number, variable in enumerate(variables)
    }


def _assign(part, model, state):
    """Give the model's seeds or metrics the values saved."""
    variables = _variables(model)[part]
    names = [name for name in state if name.startswith(f"{part}_")]
    expected = f"a model with {len(names)} {part} variables, as the one saved"
    require(len(names) == len(variables), "BackupAndRestore", "model", len(variables), expected)
    for number, variable in enumerate(variables):
        variable.assign(state[f"{part}_{number}"])
