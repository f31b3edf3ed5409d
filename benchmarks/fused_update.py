"""Adam's update by the fused kernel against the Python rule and Keras' class, beside the memory's limit."""

import gc

import keras

import tfopt
from benchmarks import _shapes
from benchmarks._bandwidth import bandwidth_limit, bytes_moved
from benchmarks._steps import Step, random_gradients
from benchmarks._timing import measure, time_once

TITLE = "Adam, fused update"
SLOTS = 2
# Name: the optimizer, and whether its step is compiled by XLA.
CONTENDERS = {
    "fused": (tfopt.Adam, False),
    "fused again": (tfopt.Adam, False),
    "fused jit": (tfopt.Adam, True),
    "rule jit": (lambda: tfopt.Adam(fused=False), True),
    "keras": (keras.optimizers.Adam, False),
    "keras jit": (keras.optimizers.Adam, True),
}
SIZES = {
    "50M × 1": (_shapes.single, CONTENDERS),
    "ResNet-50, 214 tensors": (_shapes.resnet50, CONTENDERS),
    # Without the others: XLA needs minutes to compile these once.
    "2,000 × 1,000": (_shapes.many, {name: CONTENDERS[name] for name in ("fused", "keras")}),
}
SMOKE = {
    "100 × 1": (lambda: _shapes.single(100), CONTENDERS),
    "3 × 4": (lambda: _shapes.many(3, 4), {"fused": CONTENDERS["fused"]}),
    "3 and 4": (lambda: [(3,), (4,)], CONTENDERS),
}


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    Step(tfopt.Adam(), random_gradients([(1,)]))()
    for name, (shapes, contenders) in (SMOKE if smoke else SIZES).items():
        for row in compare(shapes(), contenders, rounds):
            yield {"variables": name, **row}
        gc.collect()


def compare(shapes, contenders, rounds):
    """One row per contender; all take turns."""
    gradients = random_gradients(shapes)
    steps = {name: Step(make(), gradients, jit) for name, (make, jit) in contenders.items()}
    first = {name: step.build_seconds + time_once(step) for name, step in steps.items()}
    limit = bandwidth_limit(bytes_moved(_shapes.parameters(shapes), SLOTS))
    times = measure({"limit": limit, **steps}, rounds)
    return [row(name, times, first) for name in contenders]


def row(name, times, first):
    """What was measured for one contender."""
    return {
        "update": name,
        "limit ms": times.milliseconds("limit"),
        "ms": times.milliseconds(name),
        "limit / update": times.ratio("limit", name),
        "update / fused": times.ratio(name, "fused"),
        "first step s": first[name],
    }
