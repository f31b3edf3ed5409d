"""Steps under way on the workers, and their results in the order in which they end."""

import concurrent.futures
import threading
import time

import tensorflow as tf

from tfopt.distribute import _glue

# Seconds until a result is asked for again that a dying worker took along.
AGAIN = 0.1
# Seconds in which TensorFlow would have repeated the step, and how often it is sent before its error counts.
AWAY = 5.0
LIVES = 5


class Flight:
    """Keeps a number of steps under way.

    Args:
        coordinator: A `tf.distribute.coordinator.ClusterCoordinator`.
        limit: How many.
        patience: Seconds without a result after which `asked` is called, again and again. After as many, or
            a few if they are less, a step is sent again whose result went with a worker.
        asked: Called then; raises if there is nothing to wait for.
    """

    def __init__(self, coordinator, limit, patience, asked):
        self._coordinator = coordinator
        self._limit = limit
        self._patience = patience
        self._asked = asked
        self._waiting: dict = {}

    def add(self, function, argument):
        """Send a step off; returns the results of those that have ended, waiting only if too many are out."""
        self._send((function, argument), LIVES)
        return self._ended(wait=len(self._waiting) >= self._limit)

    def rest(self):
        """Results of all that is still under way, as they end."""
        while self._waiting:
            yield from self._ended(wait=True)

    def _send(self, step, lives):
        function, argument = step
        value = self._coordinator.schedule(function, args=(argument,))
        self._waiting[_fetched(value, min(self._patience, AWAY))] = step, lives - 1

    def _ended(self, wait):
        timeout = self._patience if wait else 0.0
        while True:
            done, _ = concurrent.futures.wait(self._waiting, timeout, concurrent.futures.FIRST_COMPLETED)
            ended = [future for future in done if not self._sent_again(future)]
            for future in done:
                del self._waiting[future]
            if ended or not wait:
                return [future.result() for future in ended]
            if not done:
                self._asked()

    def _sent_again(self, future):
        """Whether a step had to be repeated here: it was done, and then its result went with its worker."""
        step, lives = self._waiting[future]
        error = future.exception()
        lost = isinstance(error, tf.errors.OpError) and _glue.went_with_worker(error) and lives > 0
        if lost:
            self._send(step, lives)
        return lost


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
