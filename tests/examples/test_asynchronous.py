"""The example runs, and asynchronous training gets as far as synchronous in little more updates."""

import json

import pytest

pytestmark = pytest.mark.slow
# Updates of the asynchronous run for those of the synchronous one.
FACTOR = 1.5


def test_asynchronous_training_reaches_the_synchronous_accuracy(example, tmp_path):
    import subprocess
    import sys

    options = ["--verbose", "0", "--epochs", "8", "--factor", str(FACTOR), "--output", str(tmp_path)]
    # A process of its own, since connecting to a cluster takes the variables of others away.
    subprocess.run([sys.executable, example.__file__, *options], check=True, timeout=560)
    rows = json.loads((tmp_path / "asynchronous.json").read_text())
    assert [row["way"] for row in rows] == list(example.WAYS)
    synchronous, slow, killed = rows
    target = max(synchronous["test"]) - 0.005
    for row in (slow, killed):
        reached = example.epochs_to(row, target)
        assert reached
        assert reached <= FACTOR * example.epochs_to(synchronous, target)
        assert sum(row["staleness"].values()) == 8 * FACTOR * 80
    assert max(int(number) for number in slow["staleness"]) >= 1
    assert (tmp_path / "asynchronous.png").stat().st_size > 5_000
