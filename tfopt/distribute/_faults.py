"""What a step that failed or does not come back means: a server lost, no worker left, data that ended."""

import time

import tensorflow as tf

from tfopt.distribute import _addresses
from tfopt.distribute._flight import AGAIN
from tfopt.distribute._refusals import OWNER

# Seconds that a busy process is given to say something.
PATIENCE = 5.0
# What a step ends with whose worker or server is gone, or which was called off.
GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


def look(cluster, timeout):
    """Raise if there is nothing to wait for."""
    require_servers(cluster)
    lost = _addresses.silent(cluster, ("worker",), PATIENCE)
    if len(lost) == len(cluster["worker"]):
        raise TimeoutError(f"{OWNER}: no result within {timeout:g} s, and no answer from {', '.join(lost)}.")


def require_servers(cluster):
    """Raise ConnectionError if a server does not serve."""
    lost = _addresses.silent(cluster, ("ps",), PATIENCE)
    if lost:
        raise ConnectionError(
            f"{OWNER}: lost {', '.join(lost)}, and with it the weights there. Start the servers "
            "and this program again; training goes on from what tfopt.callbacks.BackupAndRestore saved last."
        )


def meaning(coordinator, error, cluster, timeout):
    """What to raise for TensorFlow's error."""
    if isinstance(error, GONE):
        try:
            look(cluster, timeout)
        except (ConnectionError, TimeoutError) as lost:
            return lost
    error = _settled(coordinator, error, timeout)
    if isinstance(error, tf.errors.OutOfRangeError):
        return ValueError(
            f"{OWNER}.fit(x): expected datasets that go on for ever on every worker, one ended: "
            "add .repeat()."
        )
    return error


def _settled(coordinator, error, timeout):
    """The error behind a step's that was only called off, once nothing is left over for a next `fit`."""
    end = time.monotonic() + timeout
    try:
        while not coordinator.done() and time.monotonic() < end:
            time.sleep(AGAIN)
    except tf.errors.OpError as first:
        return first if isinstance(error, tf.errors.CancelledError) else error
    return error


def require_awake(cluster, timeout):
    """Raise TimeoutError if a worker that is there stands still: TensorFlow would wait for it without end."""
    asleep = _addresses.stopped(cluster, timeout)
    if asleep:
        raise TimeoutError(
            f"{OWNER}: no word within {timeout:g} s from {', '.join(asleep)}, which accepts connections and "
            "stands still. Let it go on, or end it."
        )
