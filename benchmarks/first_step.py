"""What a model with many variables waits for: seconds from a new optimizer to the end of its first step."""

import gc
import random
import time

import keras

import tfopt
from benchmarks import _shapes
from benchmarks._steps import Step, random_gradients
from benchmarks._timing import Times
from benchmarks.update_step import warm_up

TITLE = "Adam, from a new optimizer to the end of its first step"
CONTENDERS = {"fused": tfopt.Adam, "keras": keras.optimizers.Adam}
COUNTS, SLOW_COUNTS, SMOKE_COUNTS = (100, 500), (100, 500, 2_000), (3,)
# Each takes seconds to minutes.
MOST_ROUNDS = 3


class Clocked:
    """An optimizer that `make` creates, and its clock starts, when there are variables to build it for."""

    def __init__(self, make):
        self.make = make

    def build(self, variables):
        """Create it and its state."""
        self.start = time.perf_counter()
        self.optimizer = self.make()
        self.optimizer.build(variables)

    def apply(self, gradients, variables):
        """One update."""
        self.optimizer.apply(gradients, variables)


class Nothing:
    """What is in the graph without an optimizer: the gradients."""

    def build(self, variables):
        """No state."""

    def apply(self, gradients, variables):
        """No update."""


def run(smoke, rounds, slow=False):
    """Rows of the table, one at a time."""
    warm_up()
    few, more = (2, 3) if smoke else (4, 44)
    gradient = nodes_per_variable(Nothing, few, more)
    nodes = {name: nodes_per_variable(make, few, more) - gradient for name, make in CONTENDERS.items()}
    for count in SMOKE_COUNTS if smoke else SLOW_COUNTS if slow else COUNTS:
        times = measure(random_gradients(_shapes.many(count)), min(rounds, MOST_ROUNDS))
        yield {"variables": count, **row(times, nodes)}


def measure(gradients, rounds):
    """Seconds of each contender by round; all take turns."""
    seconds = {name: [] for name in CONTENDERS}
    for k in range(rounds):
        for name in random.Random(k).sample(list(CONTENDERS), len(CONTENDERS)):
            seconds[name].append(first_step(CONTENDERS[name], gradients))
            gc.collect()
    return Times(seconds)


def first_step(make, gradients):
    """Seconds to create the optimizer and its state, trace the update and run it; the variables are there."""
    clocked = Clocked(make)
    Step(clocked, gradients)()
    return time.perf_counter() - clocked.start


def row(times, nodes):
    """What was measured for one number of variables."""
    return {
        "times": len(times.seconds["fused"]),
        "fused s": times.milliseconds("fused") / 1e3,
        "keras s": times.milliseconds("keras") / 1e3,
        "keras / fused": times.ratio("keras", "fused"),
        "fused nodes": nodes["fused"],
        "keras nodes": nodes["keras"],
    }


def nodes_per_variable(make, few, more):
    """Nodes that one more variable adds to the graph."""
    counts = [
        len(Step(make(), random_gradients(_shapes.many(n))).trace().get_operations()) for n in (few, more)
    ]
    return (counts[1] - counts[0]) / (more - few)
