"""What the diagnostic callbacks share: data of their own, measurements every n steps, their records."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require_integer
from tfopt.analysis._loss import loss_of


class ProbeCallback(keras.callbacks.Callback):
    """Measures something every n train steps: abstract.

    With `steps_per_execution` it does so before the first execution that begins n steps later or more.

    A subclass makes one record in `measure`, before the step or, if it overrides `on_step`, after it too, and
    says in `scalars` what of it is logged. Records are dictionaries with the key "step".
    """

    def __init__(self, data, every, options):
        super().__init__()
        require_integer(type(self).__name__, 1, every=every)
        self.every = every
        self.records: list = []
        self._data, self._options = data, options
        self._loss: Any = None
        self._steps, self._due, self._batches, self._epoch_began = 0, 0, 0, 0

    def make_loss(self):
        """The loss that is measured."""
        return loss_of(type(self).__name__, self.model, self._data, **self._options)

    def measure(self):
        """One measurement at the weights as they are."""
        raise NotImplementedError

    def scalars(self, record):
        """Names and numbers of one measurement, as they go to the logs."""
        raise NotImplementedError

    def combine(self, records):
        """The scalars of an epoch: their means."""
        rows = [self.scalars(record) for record in records]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[-1]}

    @property
    def history(self):
        """The scalars of all measurements: a dictionary of arrays, the train steps under "step"."""
        rows = [{"step": step} | self.scalars(record) for step, record in self.records]
        return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}

    @property
    def findings(self):
        """What the last measurement has to say, as a list of `Finding`."""
        return self.records[-1][1].findings if self.records else []

    # -- Keras' hooks -------------------------------------------------------------------------------

    def on_train_begin(self, logs=None):
        """Look at model and data before anything is trained."""
        self._loss = self.make_loss()

    def on_epoch_begin(self, epoch, logs=None):
        """An epoch's log holds what was measured in it."""
        self._epoch_began, self._batches = len(self.records), 0

    def on_train_batch_begin(self, batch, logs=None):
        """Measure, if it is time."""
        if self._steps >= self._due:
            self.begin_step()

    def on_train_batch_end(self, batch, logs=None):
        """Finish what was begun before the step."""
        if self._steps >= self._due:
            self.end_step()
            self._due = (self._steps // self.every + 1) * self.every
        self._steps += self._done(batch)

    def on_epoch_end(self, epoch, logs=None):
        """Put the means over the epoch into the logs; an epoch without a measurement repeats the last one."""
        records = self.records[self._epoch_began :] or self.records[-1:]
        if records and logs is not None:
            logs.update(self.combine([record for _, record in records]))

    def _done(self, batch):
        """Train steps since the last call: those of one execution."""
        # The last execution of an epoch is numbered as if it were full.
        before, self._batches = self._batches, min(batch + 1, self.params.get("steps") or batch + 1)
        return self._batches - before

    # -- for subclasses -----------------------------------------------------------------------------

    def begin_step(self):
        """Called before a step, or an execution of several, that is measured."""
        self.note(self.measure())

    def end_step(self):
        """Called after it."""

    def note(self, record):
        """Keep a record, and write it to TensorBoard if that callback writes steps."""
        self.records.append((self._steps, record))
        step = tf.summary.experimental.get_step()
        # The callback lets through only every n-th step of its own count.
        with tf.summary.record_if(True):
            for name, value in self.scalars(record).items():
                _summarize(f"batch_{name}", value, self._steps if step is None else step)

    def require_records(self, what):
        """Raise ValueError if nothing was measured yet."""
        if not self.records:
            raise ValueError(f"{type(self).__name__}.{what}: expected a model.fit with this callback before.")


def _summarize(name, value, step):
    """Write a scalar to the default writer, if there is one, as tf.summary.scalar does with TensorBoard."""
    metadata = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
    metadata.plugin_data.plugin_name = "scalars"
    tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=metadata)


def rate_of(optimizer):
    """The learning rate an optimizer applies now."""
    rate = optimizer.learning_rate
    return float(rate.numpy() if hasattr(rate, "numpy") else rate)
