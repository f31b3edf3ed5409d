"""Adam's update alone: tfopt's Python rule against Keras' class, plain and jitted, and the memory's limit."""

import functools
import gc
import operator
from collections.abc import Callable
from typing import NamedTuple

import keras

import tfopt
from benchmarks import _shapes
from benchmarks._bandwidth import bandwidth_limit, bytes_moved
from benchmarks._steps import Step, random_gradients
from benchmarks._timing import measure, time_once

TITLE = "Adam, update step alone"
CONTENDERS = {"tfopt": lambda: tfopt.Adam(fused=False), "keras": keras.optimizers.Adam}
CONTROL = {"keras again": keras.optimizers.Adam}
GRAPHS = {"plain": False, "jit": True}
SLOTS = 2


class Size(NamedTuple):
    """Variables, who updates them, and how often everything is built anew, in reversed order."""

    shapes: Callable
    contenders: dict
    builds: int


SIZES = {
    "50M × 1": Size(_shapes.single, CONTENDERS | CONTROL, 2),
    "ResNet-50, 214 tensors": Size(_shapes.resnet50, CONTENDERS | CONTROL, 2),
    # Keras needs minutes to trace these once.
    "2,000 × 1,000": Size(_shapes.many, CONTENDERS, 1),
}
SMOKE = {
    "100 × 1": Size(lambda: _shapes.single(100), CONTENDERS | CONTROL, 1),
    "3 × 4": Size(lambda: _shapes.many(3, 4), CONTENDERS, 2),
}


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    warm_up()
    for name, size in (SMOKE if smoke else SIZES).items():
        for row in compare(size, rounds):
            yield {"variables": name, **row}
        gc.collect()


def warm_up():
    """Let everything load that TensorFlow loads at the first use, so that no contender's first call pays."""
    for jit in GRAPHS.values():
        for make in CONTENDERS.values():
            Step(make(), random_gradients([(1,)]), jit)()


def compare(size, rounds):
    """One row per kind of graph; all contenders of both kinds take turns."""
    # Where buffers happen to lie makes a few per cent, and does not change while a contender lives.
    keys = [(graph, name) for graph in GRAPHS for name in size.contenders]
    built = [measure_once(size, keys[:: (-1) ** k], -(-rounds // size.builds)) for k in range(size.builds)]
    times = functools.reduce(operator.add, (times for times, _ in built))
    return [row(graph, size.contenders, times, built[0][1]) for graph in GRAPHS]


def measure_once(size, keys, rounds):
    """Build contenders in the order of `keys`; their times, and the seconds of their first calls."""
    shapes = size.shapes()
    gradients = random_gradients(shapes)
    steps = {(graph, name): Step(size.contenders[name](), gradients, GRAPHS[graph]) for graph, name in keys}
    first = {key: time_once(step) for key, step in steps.items()}
    limit = bandwidth_limit(bytes_moved(_shapes.parameters(shapes), SLOTS))
    return measure({"limit": limit, **steps}, rounds), first


def row(graph, contenders, times, first):
    """What was measured for one kind of graph."""
    tfopt_, keras_, again = ((graph, name) for name in ("tfopt", "keras", "keras again"))
    return {
        "graph": graph,
        "limit ms": times.milliseconds("limit"),
        "tfopt ms": times.milliseconds(tfopt_),
        "keras ms": times.milliseconds(keras_),
        "tfopt / keras": times.ratio(tfopt_, keras_),
        "keras again / keras": times.ratio(again, keras_) if "keras again" in contenders else None,
        "limit / tfopt": times.ratio("limit", tfopt_),
        "limit / keras": times.ratio("limit", keras_),
        "tfopt first call s": first[tfopt_],
        "keras first call s": first[keras_],
    }
