"""The example runs: layer normalisation fits a recurrent cell, batch normalisation needs its batch."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_it_runs_and_batch_normalisation_loses_what_it_learned(example, tmp_path):
    example.main(["--seeds", "1", "--epochs", "4", "--output", str(tmp_path)])
    rows = {row["cell"]: row for row in json.loads((tmp_path / "recurrent_normalisation.json").read_text())}
    assert rows.keys() == {"none", "layer", "batch"}
    assert rows["layer"]["alone"] > 0.85
    assert rows["layer"]["alone"] == pytest.approx(rows["layer"]["in_batches"], abs=0.005)
    assert rows["batch"]["in_batches"] > 0.8
    assert rows["batch"]["alone"] < rows["batch"]["in_batches"] - 0.08
    assert (tmp_path / "recurrent_normalisation.png").stat().st_size > 5_000
