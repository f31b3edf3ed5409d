"""Every first-order optimizer's Python rule, plain, against the class of Keras that comes nearest to it."""

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


class Case(NamedTuple):
    """An optimizer, the number of its slots, and Keras' nearest; None where Keras has nothing like it."""

    make: Callable
    slots: int
    peer: Callable | None


def rule(name, **arguments):
    """A maker of tfopt's optimizer without a fused kernel."""
    return functools.partial(getattr(tfopt, name), fused=False, **arguments)


def averaged_sgd():
    """An exponential mean over gradient descent."""
    return tfopt.PolyakAverage(tfopt.SGD(fused=False), decay=0.99)


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
    """What was measured for one optimizer, which must move `total` bytes."""
    contenders = {"limit": bandwidth_limit(total), "tfopt": Step(case.make(), gradients)}
    if case.peer:
        contenders["keras"] = Step(case.peer(), gradients)
    times = measure(contenders, rounds)
    return {
        "limit ms": times.milliseconds("limit"),
        "tfopt ms": times.milliseconds("tfopt"),
        "keras ms": times.milliseconds("keras") if case.peer else None,
        "tfopt / keras": times.ratio("tfopt", "keras") if case.peer else None,
        "limit / tfopt": times.ratio("limit", "tfopt"),
    }
