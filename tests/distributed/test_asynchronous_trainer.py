"""AsynchronousTrainer against Keras' own fit, against delayed gradients in NumPy, and its errors."""

import contextlib
import json
import re
import socket
import threading
import time

import keras
import pytest

import tfopt
from tfopt.distribute import (
    AsynchronousTrainer,
    LocalCluster,
    _addresses,
    _faults,
    _refusals,
    connect,
    serve,
)

SCRIPT = "asynchronous_checks.py"
RULES = ("SGD", "Momentum", "AdaGrad", "RMSProp", "AdaDelta", "Adam", "AMSGrad", "NAdam", "DeltaBarDelta")
# Fused updates in the step: none, or one in each branch of an accumulation, else one for all variables.
KERNELS = {"Adam of Keras": 0, "PolyakAverage": 0, "SGD in two": 2}


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
            assert result["kernels"] == KERNELS.get(name, 1), name
            assert set(result["devices"]) <= {"/job:ps/replica:0/task:0/device:CPU:0"}, name
    return found["errors"]


def test_one_worker_and_one_server_are_keras_fit_to_the_bit(processes):
    """Regulariser, batch normalisation, dropout, weights of samples, metrics, validation, a look-ahead."""
    errors = check_rules(processes, 1, ["Nesterov"], 0.0)
    # Two of the dataset that ended, and one of the `fit` that came after the errors.
    assert errors.pop("updates") == 3
    for name, words in ERRORS.items():
        assert re.search(words, errors.pop(name)), name
    assert errors == {}


ERRORS = {
    "no steps": "steps_per_epoch=None",
    "no dataset": "a function that returns a tf.data.Dataset, not",
    "an end": r"add \.repeat\(\)",
    "targets": r"fit\(y=.*expected None",
    "validation": r"fit\(validation_steps=None\): expected a number with a function as validation_data",
    "evaluation": r"evaluate\(steps=None\): expected a number with a function as x",
    "from elsewhere": "a function that makes its dataset itself",
    "ended": r"one ended: add \.repeat\(\)",
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


@pytest.mark.parametrize(
    ("momentum", "growth"),
    [
        pytest.param(0.0, 0, marks=pytest.mark.slow),
        pytest.param(0.9, 0, marks=pytest.mark.slow),
        (0.9, 2),
    ],
)
def test_gradients_one_update_late_are_what_numpy_says(processes, momentum, growth):
    """With `growth`, under a loss scale that is another when the gradient arrives."""
    found = processes.result_of(SCRIPT, "delayed", momentum, growth)
    assert found["moved"] > 1
    # Every late step adds to a variable of the forward pass what it added where it ran.
    assert found["seen"] == 48
    assert found["difference"] < 2e-6
    assert found["loss"] < 1e-5
    assert found["staleness"] == [[0, 1], [1, 11]]
    assert found["reported"] == [11 / 12, 1]
    assert found["order"]


FEATURES = {
    "precision": ("bfloat16", "float16", "float16 by itself"),
    "compiled": ("jit", "jit float16"),
    "saving": ("ModelCheckpoint", "ModelCheckpoint in mid-epoch", "CSVLogger"),
    "rates": ("LearningRateScheduler", "ReduceLROnPlateau", "EarlyStopping"),
    "averages": ("SwapEMAWeights", "EvaluationWeights"),
    "fits": ("second fit", "frozen and compiled anew", "several inputs and outputs"),
    "losses": ("class_weight", "own metric", "validation_steps", "all weights frozen"),
}
LEFT = ("validation_steps", "float16", "float16 by itself", "jit float16", *FEATURES["saving"])


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=() if part == "losses" else pytest.mark.slow) for part in FEATURES]
)
def test_what_works_with_keras_fit_works_alike(processes, part):
    found = processes.result_of("asynchronous_features.py", *FEATURES[part], timeout=500)
    assert tuple(found["features"]) == FEATURES[part]
    for name, result in found["features"].items():
        # Without a kernel TensorFlow may order an update's arithmetic otherwise in another graph.
        assert result["state"] <= (1e-6 if name == "EvaluationWeights" else 0.0), name
        assert result["logs"] < 1e-6, name
        assert result["more logs"] == ["staleness", "staleness_max"], name
        assert (result["left"], result["left numbers"] > 0) == (0.0, name in LEFT), name
    refused = found["refused"]
    assert "metrics=['largest/value']): expected metrics whose state is a sum" in refused["metric"]
    assert "expected a call outside of every strategy's scope()" in refused["within"]
    assert refused["updates"] == 0
    assert "No gradients provided" in refused["no gradient"]
    assert "dense" in refused["set by call"]
    assert "forward pass leaves the weights" in refused["set by call"]
    assert "model=['weight_normalization']): expected layers that have their start" in refused["not started"]
    assert refused["started"] == ""


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
        ({"worker": "a:1", "ps": ["a:2"]}, "a list of addresses for the job 'worker'"),
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


@pytest.mark.parametrize("text", ['{"cluster": []}', '{"cluster": {}}', '{"cluster": {}, "task": 1}', "{}"])
def test_tf_config_has_to_have_a_cluster(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=r"serve\(TF_CONFIG=.*\): expected a JSON object with \"cluster\""):
        serve()


@pytest.mark.parametrize(
    "task",
    [
        None,
        {},
        *({"type": "worker", "index": index} for index in (1, -1, "0")),
        {"type": "chief", "index": 0},
    ],
)
def test_a_server_has_to_know_its_task(task, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": task}))
    with pytest.raises(ValueError, match=r'serve\(task=.*"worker" or "ps"'):
        serve()


@contextlib.contextmanager
def process(port=0, word=b"\0"):
    """A process that says a word to whoever comes; one that stands still says none. Gives its address."""

    def say():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(word)

    listening = socket.create_server(("127.0.0.1", port))
    if word:
        threading.Thread(target=say, daemon=True).start()
    with listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_process_that_never_comes_is_named_in_time():
    with process() as there, process(word=b"") as still:
        cluster = {"worker": [there, "127.0.0.1:1", still], "ps": ["127.0.0.1:2"]}
        begin = time.monotonic()
        names = rf"worker 1 at 127.0.0.1:1, worker 2 at {still}, ps 0 at 127.0.0.1:2\."
        with pytest.raises(TimeoutError, match=f"no answer within 0.5 s from {names}"):
            AsynchronousTrainer(compiled, cluster, timeout=0.5)
        assert 0.5 <= time.monotonic() - begin < 5


def test_a_worker_that_stands_still_is_named_in_time():
    with process() as there, process(word=b"") as still:
        _faults.require_awake({"worker": [there, "127.0.0.1:1"]}, 5)
        with pytest.raises(TimeoutError, match=f"no word within 0.1 s from worker 1 at {still}, which"):
            _faults.require_awake({"worker": [there, still, "127.0.0.1:1"]}, 0.1)


def test_a_process_that_comes_late_is_waited_for():
    (port,) = _addresses.free_ports(1)
    address = f"127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        timer = threading.Timer(0.3, lambda: stack.enter_context(process(port)))
        timer.start()
        assert _addresses.silent({"ps": [address]}, timeout=20) == []
        timer.join()


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


def test_accumulation_by_keras_optimizers_is_refused():
    model = compiled()
    model.compile(keras.optimizers.Adam(gradient_accumulation_steps=2), "mse")
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps=2.*None for Keras' own"):
        AsynchronousTrainer(model)


PROBE = {"x": [[0.0]], "y": [[0.0]]}
REFUSED = {
    "CommonRandomNumbers": {},
    "ContinuationStages": {},
    "CurvatureMonitor": PROBE,
    "GradientFlow": PROBE,
    "GradientNoiseScale": PROBE,
    "GreedyPretraining": {"epochs_per_stage": 1},
    "LearningRateFinder": {},
}


def test_callbacks_that_work_between_steps_are_refused():
    for name, arguments in REFUSED.items():
        callback = getattr(tfopt.callbacks, name)(**arguments)
        with pytest.raises(ValueError, match=f"callbacks='{name}'.*stand still between steps"):
            _refusals.check_callbacks([keras.callbacks.TerminateOnNaN(), callback])
        with pytest.raises(ValueError, match=f"callbacks='{name}'"):
            _refusals.check_callbacks(keras.callbacks.CallbackList([callback]))
    allowed = {"BackupAndRestore", "EvaluationWeights"}
    assert set(tfopt.callbacks.__all__) == allowed | set(REFUSED)
    fit = [tfopt.callbacks.BackupAndRestore("a"), tfopt.callbacks.EvaluationWeights()]
    assert _refusals.check_callbacks(fit) == fit
    # One by one: for those that save between steps the servers have to rest.
    assert _refusals.check_callbacks(keras.callbacks.CallbackList(fit)) == fit
    assert _refusals.check_callbacks(None) == []


def test_a_local_cluster_checks_its_arguments():
    for arguments in (dict(workers=0), dict(servers=0), dict(timeout=-1)):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            LocalCluster(**arguments)
    with pytest.raises(ValueError, match="one of"):
        LocalCluster().kill("worker", 5)
