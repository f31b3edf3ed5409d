"""What errors of steps mean, by which processes of the cluster still serve."""

import pytest
import tensorflow as tf

from tfopt.distribute import _addresses, _faults

CLUSTER = {"worker": ["127.0.0.1:1", "127.0.0.1:2"], "ps": ["127.0.0.1:3"]}
GONE = [kind(None, None, "gone") for kind in _faults.GONE]


class Coordinator:
    """One with nothing left to do."""

    def done(self):
        return True


@pytest.fixture
def meaning(monkeypatch):
    """meaning(error, *silent): what is raised for an error while these processes do not serve."""

    def found(error, *silent):
        names = {"worker": ["worker 0", "worker 1"], "ps": ["ps 0"]}
        monkeypatch.setattr(
            _addresses, "silent", lambda _, jobs, __: [n for job in jobs for n in names[job] if n in silent]
        )
        return _faults.meaning(Coordinator(), error, CLUSTER, 7)

    return found


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
def test_a_step_that_went_with_the_last_worker_is_told_from_one_that_went_with_a_server(meaning, error):
    workers = meaning(error, "worker 0", "worker 1")
    assert isinstance(workers, TimeoutError)
    assert "no result within 7 s, and no answer from worker 0, worker 1" in str(workers)
    server = meaning(error, "ps 0", "worker 0", "worker 1")
    assert isinstance(server, ConnectionError)
    assert "lost ps 0" in str(server)
    # With a worker left the error is something else's.
    assert meaning(error, "worker 0") is error


def test_data_that_end_are_named_whoever_serves(meaning):
    ended = meaning(tf.errors.OutOfRangeError(None, None, "end"), "worker 0")
    assert isinstance(ended, ValueError)
    assert ".repeat()" in str(ended)
