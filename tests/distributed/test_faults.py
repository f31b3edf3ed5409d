"""Processes that are killed: training alone, workers, a server, the coordinator."""

import json
import random
import signal
import time

import pytest

from tfopt.distribute import LocalCluster

FAULTS = "asynchronous_faults.py"
# Seconds within which a worker has ended whose fellow was killed.
NOTICED = 60


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
def test_every_rule_killed_repeatedly_ends_at_the_same_weights(processes, tmp_path, replicas):
    check_stories(processes, tmp_path, replicas, stories=12, kills=2)


@pytest.mark.slow
def test_of_two_workers_one_is_killed_and_both_go_on_where_they_were(processes, tmp_path):
    """A worker, the chief, and the chief while it writes a backup, at random moments, twice in each story."""
    seed = random.randrange(10**6)
    report = processes.result_of("kill_workers.py", tmp_path, 10, 2, seed, timeout=900)
    assert len(report) == 10
    for told in report:
        *killed, last = told["lives"]
        assert len(killed) == 2
        for life in killed:
            # The other ends by itself, with an error, and in time.
            assert life["code"] == 1, (seed, life)
            assert life["seconds"] < NOTICED, (seed, life)
        assert last["codes"] == [0, 0], seed
        assert told["equal"] == [True, True], (seed, told)
        assert not told["backups"]


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
def test_workers_killed_ten_times_at_random_moments_lose_nothing(processes):
    kills, seed = 10, random.randrange(10**6)
    found = processes.result_of(FAULTS, "often", kills, seed, timeout=600)
    assert found["epochs"] > 1, seed
    assert found["accuracy"] > 0.95, (seed, found)
    assert found["steps"] == 0, (seed, found)
    # As above: at most what two workers had under way at each kill.
    assert 0 <= found["twice"] <= 2 * kills, (seed, found)
    assert abs(found["iterations"]) <= 2 * kills, (seed, found)
    assert set(found["samples"]) == {1024.0}, (seed, found)


@pytest.mark.slow
def test_a_worker_that_does_not_come_back_holds_up_neither_training_nor_its_end(processes):
    found = processes.result_of(FAULTS, "left", "", timeout=200)
    assert (found["epochs"], found["steps"]) == ([0, 1, 2], 3 * 64)
    assert found["accuracy"] > 0.9


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
@pytest.mark.parametrize(
    ("servers", "rule", "way"), [("stay", "Adam", "shuffled"), ("new", "PolyakAverage", "arrays")]
)
def test_a_coordinator_killed_ten_times_at_random_moments_ends_at_the_same_weights(
    processes, tmp_path, servers, rule, way
):
    """With one worker weights and slots are those of an undisturbed run, to the bit."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    with LocalCluster(1, 1) as local:
        cluster = json.dumps(local.cluster)
        alone = processes.start(FAULTS, "coordinator", tmp_path / "alone", cluster, rule, way)
        expected = processes.outcome(alone, timeout=200)
        # The first life leaves a backup, most others a newer one; of 128 batches some are left for the last.
        for batches in [12, *(chance.randint(1, 12) for _ in range(9))]:
            killed = processes.start(FAULTS, "coordinator", tmp_path / "killed", cluster, rule, way)
            for _ in range(batches):
                assert json.loads(killed.stdout.readline()), seed
            time.sleep(chance.uniform(0.0, 0.02))
            killed.send_signal(signal.SIGKILL)
            killed.communicate()
            if servers == "new":
                for job in ("ps", "worker"):
                    local.restart(job, 0)
        last = processes.start(FAULTS, "coordinator", tmp_path / "killed", cluster, rule, way)
        found = processes.outcome(last, timeout=200)
    epochs = {"arrays": 2, "shuffled": 16}[way]
    assert (expected["epochs"], found["epochs"][-1]) == (list(range(epochs)), epochs - 1), seed
    assert expected["iterations"] == found["iterations"] == 128, seed
    # What was done before the last life was not done again.
    assert 0 < found["updates"] < 128, seed
    assert found["state"] == expected["state"], seed
