"""Results as JSON and CSV."""

import csv
import dataclasses
import io
import json

from tfopt.compare.store import write_whole


def results(comparison):
    """A comparison as plain values: settings, facts, leaderboard, runs, trials, trajectories."""
    return {
        "settings": dataclasses.asdict(comparison.settings),
        "facts": comparison.facts,
        "leaderboard": [row.flat() for row in comparison.rows],
        "runs": _runs(comparison.runs),
        "trials": _runs(comparison.trials),
        "trajectories": [dataclasses.asdict(trajectory) for trajectory in comparison.trajectories],
    }


def _runs(groups):
    return [run.to_json() for group in groups.values() for run in group]


def write_json(comparison, path):
    """Write everything a comparison found."""
    return write_text(path, json.dumps(results(comparison), indent=1, allow_nan=False))


def write_csv(comparison, path):
    """Write the leaderboard, one line per optimizer."""
    rows = [row.flat() for row in comparison.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def write_text(path, text):
    """Write a file whole, and return its path."""
    write_whole(path, text)
    return path
