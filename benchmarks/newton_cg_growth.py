"""How a step of NewtonCG grows with the number of weights and of conjugate-gradient iterations."""

import functools

import numpy as np
import tensorflow as tf

import tfopt
from benchmarks._contenders.network import Fit, Task
from benchmarks._timing import measure

TITLE = "NewtonCG on a network: growth of a step, float32"
WIDTHS = (133, 1333, 13333)  # 10⁴, 10⁵ and 10⁶ weights
LIMITS = (2, 8, 32)  # products in a step
# Steps before measuring: near the start two products are good enough.
WARM = 12
STEPS = 4
# What a run costs keeps its number down.
MOST_ROUNDS = 7


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    for width in (3,) if smoke else WIDTHS:
        task = Task(width, 50 if smoke else 600)
        yield from rows(task, LIMITS[:1] if smoke else LIMITS, rounds)


def rows(task, limits, rounds):
    """One row per limit on the products of a step."""
    fits = {limit: prepared(task, limit) for limit in limits}
    calls = {limit: functools.partial(again, fit) for limit, (fit, _) in fits.items()}
    times = measure({"gradient": gradients(task), **calls}, rounds)
    for limit, (_, products) in fits.items():
        step, gradient = (times.seconds[name] / STEPS for name in (limit, "gradient"))
        yield {
            "weights": task.size,
            "products in a step": products / STEPS,
            "step ms": 1e3 * float(np.median(step)),
            "gradient ms": 1e3 * float(np.median(gradient)),
            "step beyond its gradient / products × gradient": float(
                np.median((step - gradient) / (products / STEPS * gradient))
            ),
        }


def prepared(task, limit):
    """A fit some steps on its way, and the products that its next steps take."""
    fit = Fit(task, lambda: tfopt.NewtonCG(max_cg=limit))
    fit.train(WARM)
    fit.keep()
    before = fit.model.optimizer.state_value("products")
    fit.train(STEPS)
    return fit, float(fit.model.optimizer.state_value("products") - before)


def again(fit):
    """The same steps once more."""
    fit.start()
    fit.train(STEPS)


def gradients(task):
    """Loss and gradient alone, as often as steps are taken."""
    weights = [tf.Variable(w) for w in task.start]

    @tf.function(autograph=False)
    def evaluate():
        with tf.GradientTape() as tape:
            value = task.loss(*weights)
        return value, tape.gradient(value, weights)

    def some():
        for _ in range(STEPS):
            evaluate()

    some()
    return some
