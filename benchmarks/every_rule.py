"""Every first-order optimizer's fused kernel and Python rule beside Keras' nearest class."""

import functools
import gc
from collections.abc import Callable
from typing import NamedTuple

from keras import optimizers as keras

import tfopt
from benchmarks import _shapes
from benchmarks._bandwidth import bandwidth_limit, bytes_moved
from benchmarks._steps import Step, random_gradients
from benchmarks._timing import measure

TITLE = "Every first-order rule on ResNet-50's tensors, plain graph"

COLUMNS = ("limit", "fused", "tfopt", "keras")


class Case(NamedTuple):
    """A maker of an optimizer, the number of its slots, and of Keras' nearest; None where there is none."""

    make: Callable  # takes `fused`
    slots: int
    peer: Callable | None


def rule(name, **arguments):
    """A maker of tfopt's optimizer."""
    return functools.partial(getattr(tfopt, name), **arguments)


def averaged_sgd(fused=True):
    """An exponential mean over gradient descent."""
    return tfopt.PolyakAverage(tfopt.SGD(fused=fused), decay=0.99)


CASES = {
    "SGD": Case(rule("SGD"), 0, keras.SGD),
    "Momentum": Case(rule("Momentum"), 1, functools.partial(keras.SGD, momentum=0.9)),
    "Nesterov": Case(rule("Nesterov"), 1, functools.partial(keras.SGD, momentum=0.9, nesterov=True)),
    "DeltaBarDelta": Case(rule("DeltaBarDelta"), 2, None),
    "AdaGrad": Case(rule("AdaGrad"), 1, keras.Adagrad),
    "RMSProp": Case(rule("RMSProp"), 1, keras.RMSprop),
    "RMSProp, centered, momentum": Case(
        rule("RMSProp", centered=True, momentum=0.9),
        3,
        functools.partial(keras.RMSprop, centered=True, momentum=0.9),
    ),
    "AdaDelta": Case(rule("AdaDelta"), 2, keras.Adadelta),
    "Adam": Case(rule("Adam"), 2, keras.Adam),
    "AMSGrad": Case(rule("AMSGrad"), 3, functools.partial(keras.Adam, amsgrad=True)),
    "NAdam": Case(rule("NAdam"), 2, keras.Nadam),
    "AdamThenSGD": Case(rule("AdamThenSGD"), 3, None),
    "PolyakAverage of SGD": Case(averaged_sgd, 1, functools.partial(keras.SGD, use_ema=True)),
}


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    shapes = _shapes.many(1, 4) if smoke else _shapes.resnet50()
    gradients = random_gradients(shapes)
    for name, case in CASES.items():
        total = bytes_moved(_shapes.parameters(shapes), case.slots)
        yield {"optimizer": name, **compare(case, gradients, total, rounds)}
        gc.collect()


def compare(case, gradients, total, rounds):
    """What was measured for one optimizer, which must move `total` bytes; None for what there is not."""
    made = {"limit": bandwidth_limit(total), "tfopt": Step(case.make(fused=False), gradients)}
    fused = Step(case.make(), gradients)
    if runs_a_kernel(fused):
        made["fused"] = fused
    if case.peer:
        made["keras"] = Step(case.peer(), gradients)
    times = measure(made, rounds)
    return {
        **{f"{name} ms": times.milliseconds(name) if name in made else None for name in COLUMNS},
        "tfopt / keras": times.ratio("tfopt", "keras") if case.peer else None,
        "limit / tfopt": times.ratio("limit", "tfopt"),
        "limit / fused": times.ratio("limit", "fused") if "fused" in made else None,
    }


def runs_a_kernel(step):
    """Whether one of tfopt's operations is in the graph."""
    return any(op.type.startswith("Tfopt") for op in step.trace().get_operations())
