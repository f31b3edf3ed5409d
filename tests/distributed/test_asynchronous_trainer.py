"""AsynchronousTrainer against Keras' own fit, against delayed gradients in NumPy, and its errors."""

import json
import re
import socket
import threading
import time

import keras
import pytest

import tfopt
from tfopt.distribute import AsynchronousTrainer, LocalCluster, _addresses, _rendezvous, connect, serve

SCRIPT = "asynchronous_checks.py"
RULES = ("SGD", "Momentum", "AdaGrad", "RMSProp", "AdaDelta", "Adam", "AMSGrad", "NAdam", "DeltaBarDelta")
WITHOUT_KERNEL = ("Adam of Keras",)


def check_rules(processes, servers, names, tolerance):
    found = processes.result_of(SCRIPT, "rules", servers, *names, timeout=500)
    assert list(found["rules"]) == list(names)
    for name, result in found["rules"].items():
        assert result["state"] <= tolerance, name
        assert result["logs"] < 1e-6, name
        assert (result["staleness"], result["updates"]) == ([[0, 12]], 12)
        assert result["reported"] == [[0.0, 0.0], [0, 0]]
        assert result["slots"] == ["/job:ps/replica:0"], name
        if servers == 1:
            assert result["kernels"] == (name not in WITHOUT_KERNEL), name
            assert set(result["devices"]) <= {"/job:ps/replica:0/task:0/device:CPU:0"}, name
    return found["errors"]


def test_one_worker_and_one_server_are_keras_fit_to_the_bit(processes):
    """Regulariser, batch normalisation, dropout, weights of samples, metrics, validation, a look-ahead."""
    errors = check_rules(processes, 1, ["Nesterov"], 0.0)
    assert errors.pop("updates") == 0
    for name, words in ERRORS.items():
        assert re.search(words, errors.pop(name)), name
    assert errors == {}


ERRORS = {
    "no steps": "steps_per_epoch=None",
    "no dataset": "a function that returns a tf.data.Dataset, not",
    "an end": r"add \.repeat\(\)",
    "targets": r"fit\(y=.*expected None",
    "validation": "steps_per_epoch=None",
    "outside": r"optimizer='Momentum'\): expected one made under the strategy's scope",
}


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_first_order_rule_is_keras_fit_to_the_bit(processes, part):
    check_rules(processes, 1, RULES[part::3], 0.0)


@pytest.mark.slow
def test_options_wrappers_and_keras_own_optimizers(processes):
    names = ("Adam with averages", "SGD in two", "PolyakAverage", "Adam of Keras")
    check_rules(processes, 1, names, 0.0)


@pytest.mark.slow
def test_weights_on_two_servers(processes):
    check_rules(processes, 2, ("Nesterov", "Adam with averages"), 1e-6)


@pytest.mark.parametrize("momentum", [pytest.param(0.0, marks=pytest.mark.slow), 0.9])
def test_gradients_one_update_late_are_what_numpy_says(processes, momentum):
    found = processes.result_of(SCRIPT, "delayed", momentum)
    assert found["moved"] > 1
    assert found["difference"] < 2e-6
    assert found["loss"] < 1e-5
    assert found["staleness"] == [[0, 1], [1, 11]]
    assert found["reported"] == [11 / 12, 1]
    assert found["order"]


# -- What is refused, without a cluster --------------------------------------------------------------------

CLUSTER = {"worker": ["127.0.0.1:1"], "ps": ["127.0.0.1:2"]}


def compiled(optimizer="sgd"):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize(
    ("cluster", "named"),
    [
        ({}, "job 'worker'"),
        ({"worker": ["a:1"]}, "job 'ps'"),
        ({"worker": [], "ps": ["a:1"]}, "job 'worker'"),
        ({"worker": ["a"], "ps": ["a:1"]}, "not 'a'"),
        ({"worker": ["a:99999"], "ps": ["a:1"]}, "not 'a:99999'"),
        ({"worker": ["a:1"], "ps": ["a:1"]}, "each address once"),
        ({"worker": ["a:1"], "ps": ["a:2"], "evaluator": ["a:3"]}, "no other jobs"),
        (5, "a dict"),
    ],
)
def test_a_cluster_that_is_none_is_refused(cluster, named):
    with pytest.raises(ValueError, match=named):
        connect(cluster)


@pytest.mark.parametrize("text", ["", "{", "5", '{"cluster": 3}'])
def test_tf_config_has_to_be_one(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    for function in (connect, serve, lambda: AsynchronousTrainer(compiled)):
        with pytest.raises(ValueError, match="TF_CONFIG"):
            function()


@pytest.mark.parametrize("task", [None, {}, {"type": "chief", "index": 0}, {"type": "worker", "index": 1}])
def test_a_server_has_to_know_its_task(task, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": task}))
    with pytest.raises(ValueError, match=r"serve\(task=.*worker"):
        serve()


def test_a_process_that_never_comes_is_named_in_time():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        cluster = {
            "worker": [f"127.0.0.1:{listening.getsockname()[1]}", "127.0.0.1:1"],
            "ps": ["127.0.0.1:2"],
        }
        begin = time.monotonic()
        expected = r"no answer within 0.5 s from worker 1 at 127.0.0.1:1, ps 0 at 127.0.0.1:2"
        with pytest.raises(TimeoutError, match=expected):
            AsynchronousTrainer(compiled, cluster, timeout=0.5)
        assert 0.5 <= time.monotonic() - begin < 5


def test_a_process_that_comes_late_is_waited_for():
    (port,) = _addresses.free_ports(1)
    address = f"127.0.0.1:{port}"
    opened = []

    def open_late():
        opened.append(socket.create_server(_rendezvous.address_of(address)))

    timer = threading.Timer(0.3, open_late)
    timer.start()
    assert _addresses.silent({"ps": [address]}, timeout=20) == []
    timer.join()
    opened[0].close()


def test_a_port_in_use_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        cluster = CLUSTER | {"worker": [address]}
        monkeypatch.setenv(
            "TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
        )
        with pytest.raises(OSError, match=f"serve: expected port .* of {address} to be free"):
            serve()
        with pytest.raises(OSError, match="connect: expected port"):
            connect(CLUSTER | {"chief": [address]})


def test_a_port_in_use_ends_the_command(monkeypatch, capsys):
    from tfopt.__main__ import main

    with socket.create_server(("127.0.0.1", 0)) as listening:
        cluster = CLUSTER | {"ps": [f"127.0.0.1:{listening.getsockname()[1]}"]}
        task = {"type": "ps", "index": 0}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        assert main(["serve"]) == 2
    assert "to be free" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", "")
    assert main(["serve"]) == 2


def test_models_made_elsewhere_and_no_models_are_refused():
    with pytest.raises(ValueError, match=r"scope\(\) of the strategy"):
        AsynchronousTrainer(compiled())
    with pytest.raises(ValueError, match="a compiled model"):
        AsynchronousTrainer(keras.Sequential([keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="has its strategy already"):
        AsynchronousTrainer(compiled(), CLUSTER)
    with pytest.raises(ValueError, match="model"):
        AsynchronousTrainer("model", CLUSTER)
    with pytest.raises(ValueError, match="timeout"):
        AsynchronousTrainer(compiled, CLUSTER, timeout=0)


@pytest.mark.parametrize("name", [*tfopt.optimizers.DIRECTION_METHODS, "GaussianSmoothing"])
def test_methods_that_need_synchronous_evaluations_are_refused(name):
    optimizer = getattr(tfopt, name)(*([tfopt.SGD(), 0.1] if name == "GaussianSmoothing" else []))
    with pytest.raises(ValueError, match=f"optimizer='{name}'.*one gradient at a time"):
        AsynchronousTrainer(compiled(optimizer))


def test_own_train_steps_and_eager_steps_are_refused():
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    model = Own([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="train step"):
        AsynchronousTrainer(model)
    model = compiled()
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="run_eagerly"):
        AsynchronousTrainer(model)


def test_a_local_cluster_checks_its_arguments():
    for arguments in (dict(workers=0), dict(servers=0), dict(timeout=-1)):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            LocalCluster(**arguments)
    with pytest.raises(ValueError, match="one of"):
        LocalCluster().kill("worker", 5)
