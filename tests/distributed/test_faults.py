"""Processes that are killed: training alone, workers, a server, the coordinator."""

import json
import random
import signal

import pytest

from tfopt.distribute import LocalCluster

FAULTS = "asynchronous_faults.py"


def check_stories(processes, folder, replicas, stories, kills):
    seed = random.randrange(10**6)
    arguments = (folder, replicas, stories, kills, seed)
    report = processes.result_of("kill_and_resume.py", *arguments, timeout=600)
    assert len(report) == stories
    for told in report:
        assert told["equal"], (seed, told)
        assert not told["backups"], (seed, told)
    # A second kill may find a run that has ended.
    assert all(told["kills"] >= 1 for told in report), (seed, report)


def test_killed_at_random_moments_training_ends_at_the_same_weights(processes, tmp_path):
    check_stories(processes, tmp_path, replicas=1, stories=2, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_ten_times_killed_repeatedly_training_ends_at_the_same_weights(processes, tmp_path, replicas):
    check_stories(processes, tmp_path, replicas, stories=10, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["arrays", "function"])
def test_workers_that_are_killed_and_replaced_do_not_stop_training(processes, source):
    found = processes.result_of(FAULTS, "worker", source, timeout=500)
    assert found["accuracy"] > 0.95
    assert found["steps"] == 0
    # A worker may die between its update and its answer; its batch is then trained on again.
    assert 0 <= found["twice"] <= 3
    assert abs(found["iterations"]) <= 3
    # Metrics count every sample once.
    assert found["samples"] == [1024.0] * 4


@pytest.mark.slow
def test_a_lost_server_is_a_clear_error(processes):
    found = processes.result_of(FAULTS, "lost", "ps", timeout=200)
    assert found["kind"] == "connection"
    assert "lost ps 0 at 127.0.0.1:" in found["message"]
    assert "BackupAndRestore" in found["message"]
    assert found["seconds"] < 90


@pytest.mark.slow
def test_losing_all_workers_is_a_clear_error(processes):
    found = processes.result_of(FAULTS, "lost", "worker", timeout=200)
    assert found["kind"] == "timeout"
    assert "no answer from worker 0 at 127.0.0.1:" in found["message"]
    assert found["seconds"] < 90


@pytest.mark.slow
@pytest.mark.parametrize("servers", ["stay", "new"])
def test_a_restarted_coordinator_goes_on_where_it_was(processes, tmp_path, servers):
    """With one worker the weights are those of an undisturbed run, to the bit."""
    with LocalCluster(1, 1) as local:
        cluster = json.dumps(local.cluster)
        alone = processes.start(FAULTS, "coordinator", tmp_path / "alone", cluster)
        expected = processes.outcome(alone, timeout=200)
        killed = processes.start(FAULTS, "coordinator", tmp_path / "killed", cluster)
        # Batches 0 to 63 are an epoch; the last backup is of the second epoch's batch 20 or thereabouts.
        for line in killed.stdout:
            if json.loads(line)["batch"] == 63:
                break
        for _ in range(22):
            killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        if servers == "new":
            for job in ("ps", "worker"):
                local.restart(job, 0)
        found = processes.outcome(
            processes.start(FAULTS, "coordinator", tmp_path / "killed", cluster), timeout=200
        )
    assert (expected["epochs"], found["epochs"]) == ([0, 1], [1])
    assert expected["iterations"] == found["iterations"] == 128
    assert 0 < found["updates"] < 64
    assert found["weights"] == expected["weights"]
