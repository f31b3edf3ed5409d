"""Adam's fused update with options, of an embedding by rows, and over micro-steps; Keras beside it."""

import gc
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfopt
from benchmarks import _shapes
from benchmarks._bandwidth import bandwidth_limit, bytes_moved
from benchmarks._steps import Step, random_gradients
from benchmarks._timing import measure

TITLE = "Adam, fused update with options"
SLOTS = 2
MICRO_STEPS = 4
OPTIONS = {"global_clipnorm": 1.0, "weight_decay": 0.01, "use_ema": True}


class Case(NamedTuple):
    """An update, and the bytes that all its train steps must move."""

    options: dict
    gradients: Callable  # of the sizes
    total: Callable  # of the sizes
    steps: int = 1  # train steps of an update


class Sizes(NamedTuple):
    """What the cases act on."""

    shapes: list
    table: tuple  # of embeddings
    rows: int  # of them with a gradient


SIZES = Sizes(_shapes.resnet50(), (200_000, 64), 4_096)
SMOKE = Sizes(_shapes.many(2, 4), (8, 2), 3)


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    # Loads the kernels: XLA can use them only if they are there before TensorFlow's first op.
    tfopt.kernels.status()
    sizes = SMOKE if smoke else SIZES
    for name, case in CASES.items():
        yield {"update": name, **compare(case, sizes, rounds)}
        gc.collect()


def compare(case, sizes, rounds):
    """What was measured for one case."""
    gradients = case.gradients(sizes)
    contenders = {
        "limit": bandwidth_limit(case.total(sizes)),
        "fused": whole_update(tfopt.Adam(**case.options), gradients, case.steps),
        "keras": whole_update(keras.optimizers.Adam(**case.options), gradients, case.steps),
    }
    times = measure(contenders, rounds)
    return {
        "limit ms": times.milliseconds("limit"),
        "fused ms": times.milliseconds("fused"),
        "keras ms": times.milliseconds("keras"),
        "fused / limit": times.ratio("fused", "limit"),
        "keras / fused": times.ratio("keras", "fused"),
    }


def whole_update(optimizer, gradients, steps):
    """All train steps of one update."""
    step = Step(optimizer, gradients)
    return lambda: [step() for _ in range(steps)]


def dense(sizes):
    """A gradient for each variable."""
    return random_gradients(sizes.shapes)


def by_rows(sizes):
    """A gradient for some rows of a table, as looking them up gives it: in any order, some of them twice."""
    rng = np.random.default_rng(0)
    values = tf.constant(rng.standard_normal((sizes.rows, sizes.table[1]), np.float32))
    indices = tf.constant(rng.integers(0, sizes.table[0], sizes.rows))
    return [tf.IndexedSlices(values, indices, tf.constant(sizes.table))]


def plain_bytes(sizes):
    """The update alone."""
    return bytes_moved(_shapes.parameters(sizes.shapes), SLOTS)


def average_bytes(sizes):
    """With the averages read and written; the norm's pass over the gradients comes on top of this limit."""
    return plain_bytes(sizes) + 8 * _shapes.parameters(sizes.shapes)


def table_bytes(sizes):
    """The update of a table, without a gradient as long as the table."""
    parameters = _shapes.parameters([sizes.table])
    return bytes_moved(parameters, SLOTS) - 4 * parameters + 4 * sizes.rows * sizes.table[1]


def accumulated_bytes(sizes):
    """Sums read and written in every micro-step, the last of which updates."""
    parameters = _shapes.parameters(sizes.shapes)
    return plain_bytes(sizes) + 8 * parameters + (MICRO_STEPS - 1) * 12 * parameters


CASES = {
    "plain": Case({}, dense, plain_bytes),
    "global_clipnorm": Case({"global_clipnorm": 1.0}, dense, plain_bytes),
    "clipvalue": Case({"clipvalue": 0.1}, dense, plain_bytes),
    "global_clipnorm, decay, EMA": Case(OPTIONS, dense, average_bytes),
    "embedding by rows": Case({}, by_rows, table_bytes),
    f"{MICRO_STEPS} micro-steps": Case(
        {"gradient_accumulation_steps": MICRO_STEPS}, dense, accumulated_bytes, MICRO_STEPS
    ),
}
