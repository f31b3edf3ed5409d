"""Runs the benchmarks, prints their tables and keeps the results."""

import argparse
import pathlib

import tensorflow as tf

from benchmarks import _machine, _report, every_rule, fused_update, graph_cost, update_step

BENCHMARKS = {
    "update_step": update_step,
    "graph_cost": graph_cost,
    "every_rule": every_rule,
    "fused_update": fused_update,
}


def main(arguments=None):
    """The command line."""
    options = parser().parse_args(arguments)
    tf.get_logger().setLevel("ERROR")  # It warns of tracing anew, which is what `graph_cost` times.
    rounds = options.rounds or (1 if options.smoke else 31)
    folder = options.output or (None if options.smoke else _report.RESULTS)
    for name in options.names or BENCHMARKS:
        result = run(BENCHMARKS[name], options.smoke, rounds)
        _report.show(result)
        if folder:
            _report.write(result, folder, name)
    if folder == _report.RESULTS:
        _report.update_readme(BENCHMARKS)


def parser():
    """What the command line takes."""
    made = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    made.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    made.add_argument("--smoke", action="store_true", help="tiny sizes that measure nothing, nothing kept")
    made.add_argument("--rounds", type=int, help="measurements of each contender")
    made.add_argument("--output", type=pathlib.Path, help="folder for the JSON; default: benchmarks/results")
    return made


def run(benchmark, smoke, rounds):
    """One benchmark's result."""
    before = _machine.load()
    rows = list(benchmark.run(smoke, rounds))
    return {
        "title": benchmark.TITLE,
        "machine": _machine.description(),
        "rounds": rounds,
        "load": [before, _machine.load()],
        "rows": rows,
    }
