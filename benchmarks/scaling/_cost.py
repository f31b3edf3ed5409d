"""The cost model: a step is what each worker computes on its share of the batch, and two all-reduces."""

import math
from typing import NamedTuple

import numpy as np

# Beside the optimizer's sum, `fit` sums one number for its logs in an all-reduce of its own.
LOGGED = 4


class Work(NamedTuple):
    """What a step costs a worker by itself.

    Attributes:
        fixed: Seconds that do not depend on the batch: the update, and `fit`.
        sample: Seconds per sample of the worker's share.
    """

    fixed: float
    sample: float

    def __call__(self, samples):
        return self.fixed + self.sample * samples


class Network(NamedTuple):
    """What an all-reduce costs.

    Attributes:
        name: What the tables call it.
        latency: Seconds that a message takes, however short.
        bandwidth: Bytes per second that a worker sends.
        tree: Sums go up and down two binary trees, as NCCL's do on many machines, rather than around a ring.
    """

    name: str
    latency: float
    bandwidth: float
    tree: bool = False

    def all_reduce(self, workers, size):
        """Seconds to sum `size` bytes over the workers."""
        if workers == 1:
            return 0.0
        if self.tree:
            return 2 * math.ceil(math.log2(workers)) * self.latency + 2 * size / self.bandwidth
        return 2 * (workers - 1) * (self.latency + size / workers / self.bandwidth)


def on_the_wire(workers, size):
    """Bytes that all workers together send to sum `size` bytes: each part goes 2 (n − 1) ways in a ring."""
    return 2 * (workers - 1) * size


def step(work, network, workers, batch, size, cores=math.inf):
    """Seconds of a step on a batch of all workers together; where cores are fewer, workers take turns."""
    turns = max(1.0, workers / cores)
    sums = sum(network.all_reduce(workers, each) for each in (size, LOGGED))
    return turns * (work(batch / workers) + sums)


def efficiency(work, network, workers, batch, size):
    """Samples per second of each worker, as a part of what one worker alone does with the same share."""
    return work(batch / workers) / step(work, network, workers, batch, size)


def fitted_work(seconds):
    """`Work` from seconds by samples, of one worker, with the smallest relative errors."""
    samples = np.array(list(seconds), float)
    times = np.array(list(seconds.values()))
    return Work(*_positive(np.stack([np.ones_like(samples), samples], 1), times))


def fitted_network(name, seconds, cores):
    """`Network` from seconds by workers and bytes, with the smallest relative errors."""
    rows = [_ring(workers, size, cores) for workers, size in seconds]
    latency, per_byte = _positive(np.array(rows), np.array(list(seconds.values())))
    return Network(name, latency, 1 / per_byte)


def _ring(workers, size, cores):
    turns = max(1.0, workers / cores)
    return 2 * (workers - 1) * turns, 2 * (workers - 1) / workers * size * turns


def _positive(columns, times):
    """Two coefficients of a sum, none below a hundredth of what it would be alone."""
    found, *_ = np.linalg.lstsq(columns / times[:, None], np.ones_like(times), rcond=None)
    return np.maximum(found, 0.01 * (times[:, None] / columns).min(axis=0)).tolist()
