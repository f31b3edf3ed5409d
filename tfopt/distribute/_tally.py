"""What the steps of an epoch add up to."""

import collections
import math
import time

import keras
import numpy as np

# Seconds between two computations of what is told after single steps.
REFRESH = 0.2


class Tally:
    """Metrics and staleness of the steps that have ended.

    The state of Keras' metrics is a sum over samples. Workers that added to one variable would overwrite one
    another, since Keras adds by reading and assigning; so each step's share is computed from the initial
    state on its worker, and added up here.

    Args:
        functions: `Steps` of the model.

    Attributes:
        staleness: Counter from staleness to the number of steps.
        steps: Number of steps.
    """

    def __init__(self, functions):
        self._functions = functions
        self._state = [np.asarray(value).astype(_wide(value.dtype)) for value in functions.initial]
        self.staleness: collections.Counter = collections.Counter()
        self.steps = 0
        self._logs: dict = {}
        self._told = -math.inf

    def add(self, added, staleness=None):
        """Count the result of one step."""
        self.steps += 1
        for state, value in zip(self._state, added, strict=True):
            state += value
        if staleness is not None:
            self.staleness[int(staleness)] += 1

    def recent_logs(self):
        """`logs`, up to REFRESH seconds old: the results of metrics cost as much as a small step."""
        if time.monotonic() - self._told > REFRESH:
            self._logs, self._told = self.logs(), time.monotonic()
        return dict(self._logs)

    def logs(self):
        """What Keras would report, with the mean and the largest staleness."""
        functions = self._functions
        mapping = list(zip(functions.metrics, self._state, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            results = functions.model.get_metrics_result()
        logs = {name: float(value) if np.ndim(value) == 0 else value for name, value in results.items()}
        if self.staleness:
            values, counts = zip(*self.staleness.items(), strict=True)
            logs["staleness"] = float(np.average(values, weights=counts))
            logs["staleness_max"] = max(values)
        return logs


def _wide(dtype):
    """Sums over an epoch in double precision, since the order in which steps end is not fixed."""
    return np.float64 if dtype.is_floating else dtype.as_numpy_dtype
