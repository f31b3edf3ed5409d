"""Adam's update alone: tfopt's Python rule against Keras' class, plain and jitted, and the memory's limit."""

import gc

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
SIZES = {
    "50M × 1": (_shapes.single, CONTENDERS | CONTROL),
    "ResNet-50, 214 tensors": (_shapes.resnet50, CONTENDERS | CONTROL),
    # Without the control: Keras needs minutes to trace it once.
    "2,000 × 1,000": (_shapes.many, CONTENDERS),
}
SMOKE = {
    "100 × 1": (lambda: _shapes.single(100), CONTENDERS | CONTROL),
    "3 × 4": (lambda: _shapes.many(3, 4), CONTENDERS),
}


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    warm_up()
    for name, (shapes, contenders) in (SMOKE if smoke else SIZES).items():
        for row in compare(shapes(), contenders, rounds):
            yield {"variables": name, **row}
        gc.collect()


def warm_up():
    """Let everything load that TensorFlow loads at the first use, so that no contender's first call pays."""
    for jit in GRAPHS.values():
        for make in CONTENDERS.values():
            Step(make(), random_gradients([(1,)]), jit)()


def compare(shapes, contenders, rounds):
    """One row per kind of graph; all contenders of both kinds take turns."""
    gradients = random_gradients(shapes)
    steps = {
        (graph, name): Step(make(), gradients, jit)
        for graph, jit in GRAPHS.items()
        for name, make in contenders.items()
    }
    first = {key: time_once(step) for key, step in steps.items()}
    limit = bandwidth_limit(bytes_moved(_shapes.parameters(shapes), SLOTS))
    times = measure({"limit": limit, **steps}, rounds)
    return [row(graph, contenders, times, first) for graph in GRAPHS]


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
