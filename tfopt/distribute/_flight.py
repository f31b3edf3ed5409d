"""Steps under way on the workers, and their results in the order in which they end."""

import concurrent.futures
import threading
import time

import tensorflow as tf

from tfopt.distribute import _glue

# Seconds until a result is asked for again that a dying worker took along.
AGAIN = 0.1


class Flight:
    """Keeps a number of steps under way.

    Args:
        coordinator: A `tf.distribute.coordinator.ClusterCoordinator`.
        limit: How many.
        patience: Seconds without a result after which `asked` is called, again and again.
        asked: Called then; raises if there is nothing to wait for.
    """

    def __init__(self, coordinator, limit, patience, asked):
        self._coordinator = coordinator
        self._limit = limit
        self._patience = patience
        self._asked = asked
        self._waiting: set = set()

    def add(self, function, argument):
        """Send a step off; returns the results of those that have ended, waiting only if too many are out."""
        value = self._coordinator.schedule(function, args=(argument,))
        self._waiting.add(_fetched(value, self._patience))
        return self._ended(wait=len(self._waiting) >= self._limit)

    def rest(self):
        """Results of all that is still under way, as they end."""
        while self._waiting:
            yield from self._ended(wait=True)

    def _ended(self, wait):
        timeout = self._patience if wait else 0.0
        while True:
            done, _ = concurrent.futures.wait(self._waiting, timeout, concurrent.futures.FIRST_COMPLETED)
            if done or not wait:
                break
            self._asked()
        self._waiting -= done
        return [future.result() for future in done]


def _fetched(value, patience):
    """The future of a step's result.

    TensorFlow tells that a step has ended only to whoever waits for that very step. The threads of an
    executor would keep the process from ending when a worker never comes back.
    """
    future: concurrent.futures.Future = concurrent.futures.Future()

    def wait():
        try:
            future.set_result(_fetch(value, patience))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=wait, name="tfopt-fetch", daemon=True).start()
    return future


def _fetch(value, patience):
    """The result of a step; where the worker died with it, of the step's repetition on another."""
    end = None
    while True:
        try:
            return value.fetch()
        except tf.errors.OpError as error:
            # From the first time that it was gone: the step may have waited long for its turn.
            end = time.monotonic() + patience if end is None else end
            if not _glue.went_with_worker(error) or time.monotonic() > end:
                raise
            time.sleep(AGAIN)
