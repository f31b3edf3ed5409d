"""Every row of the index on two replicas, and on two and three real workers: the weights of one device."""

import fcntl
import functools
import importlib.util
import itertools
import os
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

import tfopt

SCRIPT = pathlib.Path(__file__).with_name("contract.py")
SPEC = importlib.util.spec_from_file_location("distributed_contract", SCRIPT)
contract = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(contract)
ROWS = contract.ROWS
# One of each kind, in every run of the tests: a rule with all options, and a method.
QUICK = ["Adam 1, accumulate", "LBFGS"]
# What all rows of a way of running may take together, in seconds.
LIMIT = 3000
WAYS = {"replicas": ("replicas", 1), "two workers": ("workers", 2), "three workers": ("workers", 3)}
# On a machine that has one; docs/tpu.md says how.
if "TFOPT_TPU" in os.environ:
    WAYS["tpu"] = ("tpu", 1)


def arrays(path):
    """{row: {name: array}} of one process."""
    found = {}
    with np.load(path) as stored:
        for key in stored.files:
            row, name = key.split("|")
            found.setdefault(row, {})[name] = stored[key]
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory, new_cluster, worker_id):
    """results(kind, count, names): what each process came to; run once for all processes of pytest."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent

    @functools.cache
    def run(kind, count, names):
        folder = shared / f"contract-{kind}-{count}"
        folder.mkdir(exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            paths = [folder / f"{kind}-{index}.npz" for index in range(count)]
            if not all(path.exists() for path in paths):
                cluster = new_cluster(folder)
                if kind == "workers":
                    cluster.start(SCRIPT, kind, folder, *names, count=count)
                else:
                    cluster.launch(SCRIPT, kind, folder, *names)
                cluster.succeed(LIMIT)
        return [arrays(path) for path in paths]

    return run


def assert_near(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], tolerance, tolerance, err_msg=name)


def starting_with(prefixes, process):
    return {name: value for name, value in process.items() if name.startswith(prefixes)}


def assert_same_on_each(processes):
    """Weights and state bit for bit; results too, which all workers reduce together."""
    first, *others = processes
    assert all(process["replicas differ"] == 0 for process in processes)
    for other in others:
        for name, value in first.items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)


def assert_refused(processes, message):
    """An error on each: TensorFlow's own on one at least, on others perhaps that their peer gave up."""
    errors = [str(process["error"]) for process in processes]
    assert any(re.search(message, error) for error in errors)


def assert_contract(row, alone, processes):
    errors = [str(process["error"]) for process in [alone, *processes] if "error" in process]
    assert errors == []
    assert_same_on_each(processes)
    if row.equal:
        # One device that accumulates has a sum more in its state.
        found, expected = (starting_with(("weight", "history"), one) for one in (processes[0], alone))
        assert_near(found, expected, row.tolerance)
    if row.batchwise:
        found = {f"at once {name}": v for name, v in starting_with("weight", processes[0]).items()}
        assert_near(found, starting_with("at once", alone), row.tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "name"), list(itertools.product(WAYS, ROWS)))
def test_replicas_and_workers_equal_one_device(way, name, results):
    kind, count = WAYS[way]
    (alone,) = results("alone", 1, tuple(ROWS))
    processes = results(kind, count, tuple(ROWS))
    found = [process[name] for process in processes]
    if kind in ROWS[name].errors:
        assert_refused(found, ROWS[name].errors[kind])
    else:
        assert_contract(ROWS[name], alone[name], found)


def test_two_workers_equal_one_device(cluster, tmp_path):
    """The most telling rows: started once, compared with this process."""
    cluster.start(SCRIPT, "workers", tmp_path, *QUICK, count=2).succeed(120)
    processes = [arrays(tmp_path / f"workers-{index}.npz") for index in range(2)]
    for name in QUICK:
        alone = contract.train(ROWS[name], tf.distribute.get_strategy())
        assert_contract(ROWS[name], alone, [process[name] for process in processes])


@pytest.mark.parametrize("package", contract.INDEX)
def test_every_name_of_the_index_has_a_row(package):
    # The one function of the layers trains nothing.
    public = set(getattr(tfopt, package).__all__) - {"recalibrate_batch_norm"}
    assert {re.split("[ ,]", row)[0] for row in contract.INDEX[package]} == public


def test_no_row_hides_another():
    assert len(ROWS) == sum(map(len, contract.INDEX.values())) + len(dict(contract.way_rows()))


def test_a_wrong_result_is_seen():
    """The comparison itself: a change of 1e-5 in one weight, and of one bit between workers."""
    good = {"weight 0": np.ones(3, "float32"), "replicas differ": np.array(0)}
    off = {**good, "weight 0": good["weight 0"] + np.float32(1e-5)}
    bit = {**good, "weight 0": np.nextafter(good["weight 0"], np.float32(2))}
    row = contract.Row(None)
    assert_contract(row, good, [good, good])
    for alone, processes in ((good, [off, off]), (good, [good, bit]), (good, [good, {**good, "error": "x"}])):
        with pytest.raises(AssertionError):
            assert_contract(row, alone, processes)


def test_a_wrong_result_of_products_is_seen():
    """Where one device that accumulates is wrong like the replicas, and where there is nothing beside it."""
    good = {"weight 0": np.ones(3), "replicas differ": np.array(0)}
    row = contract.Row(None, batchwise=True)
    assert_contract(row, good | {"at once weight 0": np.ones(3)}, [good, good])
    for alone in (good | {"at once weight 0": np.ones(3) + 1e-5}, good):
        with pytest.raises(AssertionError):
            assert_contract(row, alone, [good, good])
