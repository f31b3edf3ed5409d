"""multi_worker_strategy before there is a strategy; tests/distributed has those with workers."""

import json
import socket
import time

import pytest
import tensorflow as tf

import tfopt
from tfopt.distribute import _rendezvous
from tfopt.distribute._addresses import free_ports
from tfopt.distribute.multi_worker_strategy import multi_worker_strategy


def listener():
    answering = socket.socket()
    answering.bind(("127.0.0.1", 0))
    answering.listen()
    return answering, answering.getsockname()[1]


@pytest.fixture
def place(monkeypatch):
    """place(*ports, index, ...): sets TF_CONFIG."""

    def put(*ports, index=0, job="worker"):
        task = {
            "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
            "task": {"type": job, "index": index},
        }
        monkeypatch.setenv("TF_CONFIG", json.dumps(task))

    return put


def test_workers_that_never_come_are_named_in_time(place):
    answering, there = listener()
    with answering:
        first, last = free_ports(2)
        ports = [first, there, last]
        place(*ports)
        begin = time.monotonic()
        with pytest.raises(TimeoutError) as caught:
            multi_worker_strategy(timeout=0.5)
    assert 0.5 <= time.monotonic() - begin < 2.5
    message = str(caught.value)
    assert message.startswith("multi_worker_strategy(timeout=0.5): expected all workers within 0.5 s; nobody")
    assert f"worker 2 at 127.0.0.1:{ports[2]}" in message
    assert f"127.0.0.1:{there}" not in message
    assert f"127.0.0.1:{ports[0]}" not in message


def test_a_port_in_use_is_an_error_at_once(place):
    answering, port = listener()
    with answering:
        place(port, *free_ports(1))
        begin = time.monotonic()
        expected = rf"multi_worker_strategy: expected the port of worker 0 at 127\.0\.0\.1:{port} to be free"
        with pytest.raises(OSError, match=expected):
            multi_worker_strategy(timeout=60)
    assert time.monotonic() - begin < 2


def test_the_own_port_is_free_again_after_the_wait(place):
    port, other = free_ports(2)
    place(port, other)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            multi_worker_strategy(timeout=0.1)
    _rendezvous.listen(port).close()


TWO = '"cluster": {"worker": ["a:1", "b:2"]}'
JSON = 'TF_CONFIG=.*: expected a JSON object with "cluster"'
TASK = 'task=.*: expected TF_CONFIG with a "task" of "type" "chief" or "worker" and an "index"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("worker", JSON),
        ("[]", JSON),
        ('{"cluster": 3}', JSON),
        (f'{{{TWO}, "task": "worker"}}', JSON),
        (f"{{{TWO}}}", TASK),
        (f'{{{TWO}, "task": {{"type": "worker"}}}}', TASK),
        (f'{{{TWO}, "task": {{"type": "worker", "index": 2}}}}', TASK),
        (f'{{{TWO}, "task": {{"type": "worker", "index": -1}}}}', TASK),
        (f'{{{TWO}, "task": {{"type": "ps", "index": 0}}}}', TASK),
        ('{"cluster": {"worker": ["host"]}}', 'cluster=.*: expected addresses "host:port", not .host.'),
        ('{"cluster": {"worker": ["host:70000"]}}', 'expected addresses "host:port", not .host:70000'),
        ('{"cluster": {"worker": "a:1"}}', "expected a list of addresses for the job .worker"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "each address once"),
    ],
)
def test_a_config_that_is_none_is_refused(text, expected, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=rf"multi_worker_strategy\(.*{expected}"):
        multi_worker_strategy(timeout=0.1)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), None, "1"])
def test_the_timeout_is_a_number(timeout):
    with pytest.raises(ValueError, match="timeout"):
        multi_worker_strategy(timeout=timeout)


@pytest.mark.parametrize(
    "config", [None, '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker"}}']
)
def test_one_worker_waits_for_nobody(config, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config)
    made = []
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda **options: made.append(options))
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=5)
    tfopt.distribute.multi_worker_strategy(communication_options=options)
    assert made == [{"communication_options": options}]
