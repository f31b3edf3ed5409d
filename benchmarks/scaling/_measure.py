"""Measures one, two and three workers in turns, so that noise comes to all of them alike."""

import contextlib
import functools
import os
import random
from typing import NamedTuple

import numpy as np

from benchmarks.scaling import _cost
from benchmarks.scaling._cases import CASES, FLOAT, TINY
from benchmarks.scaling._cluster import Cluster

CORES = os.cpu_count() or 1
BATCH = 96  # of all workers together; one, two and three divide it
SIZES = (1, 10_000, 100_000, 1_000_000, 4_000_000)  # numbers in an all-reduce
STEPS = 12
MOST_ROUNDS = 9
HERE = "this machine"


class Measured(NamedTuple):
    """Medians over the rounds.

    Attributes:
        cases: What was trained, by name.
        steps: Seconds and bytes sent of a step, by case, workers and batch.
        work: `_cost.Work` by case, from one worker and shares of the batch.
        network: The `_cost.Network` that all-reduces alone suggest.
    """

    cases: dict
    steps: dict
    work: dict
    network: _cost.Network


@functools.cache
def measured(smoke, rounds):
    """Everything that both tables need, measured once."""
    counts, cases, batch = ((1, 2), TINY, 4) if smoke else ((1, 2, 3), CASES, BATCH)
    shares = [(name, 1, batch // n) for name in cases for n in counts]
    shared = [(name, n, batch) for name in cases for n in counts[1:]]
    sums = [(n, size) for n in counts[1:] for size in (SIZES[:2] if smoke else SIZES)]
    with contextlib.ExitStack() as stack:
        clusters = {n: stack.enter_context(Cluster(n)) for n in counts}
        calls = {
            (name, n, size): functools.partial(clusters[n].call, "train", name, size, 2 if smoke else STEPS)
            for name, n, size in shares + shared
        } | {(n, size): functools.partial(clusters[n].call, "reduce", size, STEPS) for n, size in sums}
        found = in_turns(calls, rounds)
    work = {name: _work(found, [row for row in shares if row[0] == name]) for name in cases}
    reductions = {(n, FLOAT * size): found[n, size]["seconds"] for n, size in sums}
    steps = {key: found[key] for key in shares + shared}
    return Measured(cases, steps, work, _cost.fitted_network(HERE, reductions, CORES))


def in_turns(calls, rounds):
    """Medians of what each call gives, called once a round in an order drawn anew; the first is a warm-up."""
    found = {key: [] for key in calls}
    for k in range(rounds + 1):
        for key in random.Random(k).sample(list(calls), len(calls)):
            result = calls[key]()
            if k > 0:
                found[key].append(result)
    return {
        key: {name: float(np.median([one[name] for one in results])) for name in results[0]}
        for key, results in found.items()
    }


def _work(found, shares):
    return _cost.fitted_work({samples: found[name, n, samples]["seconds"] for name, n, samples in shares})
