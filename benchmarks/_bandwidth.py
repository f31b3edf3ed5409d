"""The limit of an update that only memory holds back: the same bytes moved by the plainest loop there is."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

THREADS = os.cpu_count() or 1
BYTES_PER_SUM = 12  # y += x in float32: two reads, one write


def bytes_moved(parameters, slots):
    """Bytes an update must move: gradient read, weights and slots read and written, all float32."""
    return 4 * parameters * (1 + 2 * (1 + slots))


def bandwidth_limit(total):
    """A contender that moves `total` bytes as ``y += x`` on all cores, in place as an update is."""
    size = max(1, total // BYTES_PER_SUM // THREADS)
    pairs = [(np.ones(size, np.float32), np.ones(size, np.float32)) for _ in range(THREADS)]
    pool = ThreadPoolExecutor(THREADS)
    return lambda: list(pool.map(_add, pairs))


def traffic_limit(read, written):
    """A contender that reads and writes so many bytes: ``y += x``, and ``x.max()`` for what is only read.

    Memory takes in what is written while it gives out what is read: bytes only read take longer than as many
    of ``y += x``.
    """
    summed = bandwidth_limit(3 * written)
    size = max(1, (read - 2 * written) // np.float32().itemsize // THREADS)
    vectors = [np.ones(size, np.float32) for _ in range(THREADS)]
    pool = ThreadPoolExecutor(THREADS)
    return lambda: (summed(), list(pool.map(np.max, vectors)))


def _add(pair):
    y, x = pair
    np.add(y, x, out=y)
