"""The example runs, and a deep sigmoid network learns greedily what it does not learn jointly."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_greedy_pretraining_reaches_what_joint_training_does_not(example, tmp_path):
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
