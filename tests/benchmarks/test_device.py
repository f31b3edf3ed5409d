"""What runs on a machine with a GPU: its references, its exported files, and a run without the GPU."""

import importlib
import importlib.util
import json
import lzma
import pathlib
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

import tfopt

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks" / "device").is_dir(), reason="no source tree around the tests"
)
MOMENTUM = dict(momentum=0.9)
OPTIMIZERS = [
    tfopt.SGD(),
    tfopt.Momentum(),
    tfopt.Nesterov(),
    tfopt.DeltaBarDelta(),
    tfopt.AdaGrad(),
    tfopt.RMSProp(),
    tfopt.RMSProp(centered=True),
    tfopt.RMSProp(**MOMENTUM),
    tfopt.RMSProp(centered=True, **MOMENTUM),
    tfopt.RMSProp(nesterov=True, **MOMENTUM),
    tfopt.RMSProp(centered=True, nesterov=True, **MOMENTUM),
    tfopt.AdaDelta(),
    tfopt.Adam(),
    tfopt.Adam(epsilon_mode="inside"),
    tfopt.AMSGrad(),
    tfopt.Adam(amsgrad=True, epsilon_mode="inside"),
    tfopt.AMSGrad(variant="recursive"),
    tfopt.NAdam(),
    tfopt.NAdam(form="lookahead"),
]
RULES = {optimizer.machine.rule.name: optimizer.machine.rule for optimizer in OPTIMIZERS}


@pytest.fixture
def device(monkeypatch):
    """device(name): a module of benchmarks/device."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    return lambda name: importlib.import_module(f"benchmarks.device.{name}")


class Scalars(dict):
    """A number for every name that a rule asks for."""

    def __missing__(self, name):
        self[name] = 0.1 + 0.8 * np.random.default_rng(sum(map(ord, name))).random()
        return self[name]


class AsAttributes(types.SimpleNamespace):
    def __init__(self, scalars):
        self.__dict__["given"] = scalars

    def __getattr__(self, name):
        return tf.constant(self.given[name], tf.float64)


def test_there_is_a_reference_for_every_rule(device):
    index = (ROOT / "custom_ops" / "rules" / "index.inc").read_text(encoding="utf-8")
    names = [
        line.split("(")[1].split(",")[0] for line in index.splitlines() if line.startswith("TFOPT_RULE(")
    ]
    assert list(device("_references").RULES) == names
    assert set(RULES) == set(names)


@pytest.mark.parametrize("name", RULES)
def test_the_references_compute_what_the_rules_do(device, name):
    rule, rng = RULES[name], np.random.default_rng(0)
    g, p = rng.normal(size=(2, 50))
    slots = {slot: 0.1 + rng.random(50) for slot in rule.slots}
    now, following = Scalars(), Scalars()
    iterate, point, state = device("_references").step(name, g, p, slots, now, following, 0.9)
    columns, given = [tf.constant(slots[slot]) for slot in rule.slots], AsAttributes(now)
    theirs = tf.constant(p)
    if rule.lookahead:
        theirs = theirs - rule.lookahead(columns, given)
    theirs = theirs * 0.9
    increment, columns = rule.update(tf.constant(g), theirs, tuple(columns), given)
    theirs = theirs + increment
    np.testing.assert_allclose(iterate, theirs, rtol=1e-12, atol=1e-12)
    if rule.lookahead:
        theirs = theirs + rule.lookahead(columns, AsAttributes(following))
    np.testing.assert_allclose(point, theirs, rtol=1e-12, atol=1e-12)
    for slot, column in zip(rule.slots, columns, strict=True):
        np.testing.assert_allclose(state[slot], column, rtol=1e-12, atol=1e-12)


def test_there_is_a_small_file_for_every_set_of_variables(device):
    sets = device("_sets")
    files = {path.stem: path for path in sets.EXPORTED.glob("*.xz")}
    assert set(files) == {*sets.SETS, "smoke"}
    for path in files.values():
        assert path.stat().st_size < 1_000_000
        assert b"StableHLO" in lzma.decompress(path.read_bytes())


def test_tables_show_ratios_with_their_quartiles(device):
    rows = [{"a": {"low": 0.9, "median": 1.0, "high": 1.25}, "b": 0.01234}, {"a": None, "b": 2.0, "c": "x"}]
    assert device("run").markdown("Title", rows).splitlines()[2:] == [
        "| a | b | c |",
        "| ---: | ---: | ---: |",
        "| 1.00 (0.90–1.25) | 0.0123 | – |",
        "| – | 2 | x |",
    ]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="no PyTorch")
def test_a_run_without_a_gpu(device, tmp_path):
    device("run").main(["--cpu", "--rounds", "1", "--calls", "1", "--output", str(tmp_path)])
    kept = json.loads((tmp_path / "device.json").read_text(encoding="utf-8"))
    errors, norms, normalized, adam, every, passes = kept["tables"]
    assert {row["rule"] for row in errors["rows"]} == set(RULES)
    assert all(value <= 1 for row in errors["rows"] for value in list(row.values())[1:])
    assert len(norms["rows"]) == 4
    assert len(normalized["rows"]) == 9
    assert all(value <= 1 for row in normalized["rows"] for value in list(row.values())[1:])
    assert len(passes["rows"]) == 3 * 2
    assert all(row["tfopt ms"] > 0 for row in passes["rows"])
    assert adam["rows"][0]["tfopt ms"] > 0
    assert len(every["rows"]) == len(RULES) + 3
