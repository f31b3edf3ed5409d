"""The example runs, and a deep sigmoid network learns greedily what it does not learn jointly."""

import importlib.util
import json
import pathlib

import pytest

PATH = pathlib.Path(__file__).resolve().parents[2] / "examples" / "greedy_pretraining.py"
pytestmark = [
    pytest.mark.skipif(not PATH.is_file(), reason="no source tree around the tests"),
    pytest.mark.slow,
]


def test_greedy_pretraining_reaches_what_joint_training_does_not(tmp_path):
    spec = importlib.util.spec_from_file_location("greedy_pretraining", PATH)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    options = ["--data", "mnist5k", "--fine-tuning", "5", "--seeds", "2"]
    example.main([*options, "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "accuracy.json").read_text())
    final = {(row["way"], row["seed"]): row["test"][-1] for row in rows}
    best = {(row["way"], row["seed"]): max(row["test"]) for row in rows}
    for seed in range(2):
        assert final["greedily", seed] > 0.75
        assert final["greedily", seed] > best["jointly", seed] + 0.1
    assert all(len(row["test"]) == 45 for row in rows)
    assert (tmp_path / "accuracy.png").stat().st_size > 5_000
