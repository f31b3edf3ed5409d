"""What goes wrong between real workers: a clear error on each, in time."""

import pathlib
import socket

import pytest

SCRIPT = pathlib.Path(__file__).with_name("faulty.py")
UNEQUAL = "{}: expected the same optimizer on every worker; worker 1 has {}."
# Case -> what each worker raises; within so many seconds, tracing and the start of the collectives included.
WITHIN = 30
CASES = {
    "other_class": ["ValueError", None],
    "other_rate": [
        "ValueError",
        UNEQUAL.format("Adam", "learning_rate 0.2, worker 0 0.1"),
    ],
    "other_inner": ["ValueError", UNEQUAL.format("PolyakAverage", "inner.config.momentum 0.8, worker 0 0.9")],
    "other_names": ["nothing", None],
    "model_outside": ["ValueError", None],
    "optimizer_outside": ["ValueError", None],
}


def said(cluster):
    """For each worker {case: (seconds, class of the error, message)}."""
    found = []
    for index in range(len(cluster.processes)):
        lines = [line.split("|", 3) for line in cluster.output(index).splitlines() if line.count("|") >= 3]
        found.append({case: (float(seconds), kind, text) for case, seconds, kind, text in lines})
    return found


@pytest.mark.slow
def test_workers_that_differ_and_variables_out_of_scope(cluster):
    """One after the other in the same processes: what is refused leaves the collectives in order."""
    cluster.start(SCRIPT, ",".join(CASES), count=2).succeed(240)
    for index, worker in enumerate(said(cluster)):
        assert list(worker) == list(CASES)
        for case, (kind, message) in CASES.items():
            seconds, came, text = worker[case]
            assert came == kind, text
            assert seconds < WITHIN
            assert message is None or text == message
        differs = "worker 1 has class 'Adam', worker 0 'SGD'"
        assert differs in worker["other_class"][2]
        assert worker["other_class"][2].startswith(("SGD", "Adam")[index])
        for case in ("model_outside", "optimizer_outside"):
            assert "expected variables of the scope of the strategy" in worker[case][2]


@pytest.mark.slow
def test_models_that_differ_are_refused_by_tensorflow(cluster):
    """Variables start from the first worker's, so that shapes meet there; the others see that one is gone."""
    cluster.start(SCRIPT, "other_model", count=2)
    cluster.wait(120)
    kinds = {worker["other_model"][1] for worker in said(cluster)}
    assert "InvalidArgumentError" in kinds
    assert "Shape mismatch in the collective instance" in cluster.shown()
    assert max(worker["other_model"][0] for worker in said(cluster)) < 90


@pytest.mark.slow
def test_a_worker_that_never_comes_is_named(cluster):
    cluster.start(SCRIPT, "other_names", "2", count=2, indices=[0]).succeed(60)
    seconds, kind, text = said(cluster)[0]["start"]
    assert (kind, "nobody answers for worker 1 at 127.0.0.1" in text) == ("TimeoutError", True)
    assert 2 <= seconds < 5


@pytest.mark.slow
def test_a_port_in_use_ends_its_worker_at_once(cluster):
    with socket.socket() as taken, socket.socket() as other:
        for one in (taken, other):
            one.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], other.getsockname()[1]]
        cluster.start(SCRIPT, "other_names", "60", count=2, ports=ports, indices=[0]).succeed(60)
    seconds, kind, text = said(cluster)[0]["start"]
    assert kind == "OSError"
    assert f"worker 0 at 127.0.0.1:{ports[0]} to be free" in text
    assert seconds < 2
