"""The example runs, learns, and shows what batch normalisation loses with its batch."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_it_runs_and_small_batches_cost_batch_normalisation_alone(example, tmp_path):
    options = ["--data", "digits", "--samples", "400", "--epochs", "4", "--seeds", "2", "--width", "8"]
    example.main([*options, "--batch-sizes", "32", "2", "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "batch_size.json").read_text())
    assert {(row["norm"], row["batch_size"]) for row in rows} == {
        *((norm, 32) for norm in ("BN", "LN", "IN", "GN")),
        *((norm, 2) for norm in ("BN", "GN")),
    }
    mean = {key: example.summary(rows, *key)[0] for key in {(row["norm"], row["batch_size"]) for row in rows}}
    assert np.all([row["test"] < 60.0 for row in rows if row["norm"] == "GN"])
    assert mean["BN", 2] - mean["BN", 32] > mean["GN", 2] - mean["GN", 32]
    assert (tmp_path / "batch_size.png").stat().st_size > 5_000
