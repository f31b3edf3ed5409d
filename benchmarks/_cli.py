"""Runs the benchmarks, prints their tables and keeps the results."""

import argparse
import pathlib

import tensorflow as tf

from benchmarks import (
    _machine,
    _report,
    direction_methods,
    evaluations_to_target,
    every_rule,
    first_step,
    fused_options,
    fused_update,
    graph_cost,
    newton_cg_growth,
    normalization,
    peers,
    sparse_coding,
    update_step,
)
from benchmarks.scaling import forecast, measured
from benchmarks.train_step import measured as train_step

BENCHMARKS = {
    "update_step": update_step,
    "graph_cost": graph_cost,
    "every_rule": every_rule,
    "fused_update": fused_update,
    "fused_options": fused_options,
    "train_step": train_step,
    "first_step": first_step,
    "newton_cg_growth": newton_cg_growth,
    "sparse_coding": sparse_coding,
    "scaling": measured,
    "scaling_forecast": forecast,
    "normalization": normalization,
    "peers": peers,
    "direction_methods": direction_methods,
    "evaluations_to_target": evaluations_to_target,
}
# They need more than tfopt does, and run when they are named.
APART = ("normalization", "peers", "direction_methods", "evaluations_to_target")


def main(arguments=None):
    """The command line."""
    options = parser().parse_args(arguments)
    tf.get_logger().setLevel("ERROR")  # It warns of tracing anew, which is what `graph_cost` times.
    rounds = options.rounds or (1 if options.smoke else 31)
    folder = options.output or (None if options.smoke else _report.RESULTS)
    for name in options.names or [name for name in BENCHMARKS if options.smoke or name not in APART]:
        result = run(BENCHMARKS[name], options.smoke, rounds, options.slow)
        _report.show(result)
        if folder:
            _report.write(result, folder, name)
    if folder == _report.RESULTS:
        _report.update_readme(BENCHMARKS)


def parser():
    """What the command line takes."""
    made = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    made.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(BENCHMARKS)}; default: all but {', '.join(APART)}",
    )
    made.add_argument("--smoke", action="store_true", help="tiny sizes that measure nothing, nothing kept")
    made.add_argument("--slow", action="store_true", help="also what needs minutes to be traced")
    made.add_argument("--rounds", type=int, help="measurements of each contender")
    made.add_argument("--output", type=pathlib.Path, help="folder for the JSON; default: benchmarks/results")
    return made


def run(benchmark, smoke, rounds, slow=False):
    """One benchmark's result; `slow` is for those that leave out slow contenders otherwise."""
    before = _machine.load()
    rounds = min(rounds, getattr(benchmark, "MOST_ROUNDS", rounds))
    chosen = {"slow": slow} if benchmark in (first_step, peers) else {}
    rows = list(benchmark.run(smoke, rounds, **chosen))
    return {
        "title": benchmark.TITLE,
        "machine": _machine.description(getattr(benchmark, "PACKAGES", ())),
        "rounds": rounds,
        "load": [before, _machine.load()],
        "rows": rows,
    }
