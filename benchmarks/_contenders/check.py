"""Whether a contender computes Adam: two updates with different gradients against float64."""

import numpy as np

from benchmarks._contenders import ADAM
from benchmarks._timing import time_once

CHUNK = 1 << 20
# As a fraction of the learning rate, which is the length of a step.
TOLERANCE = 1e-4


def error_after_two_updates(contender, gradients):
    """The largest error of a weight, in steps, and the seconds of the contender's first call.

    The contender ends up with `gradients`.
    """
    others = [g * g - 0.5 for g in gradients]
    contender.feed(others)
    first = time_once(contender)
    contender.feed(gradients)
    contender()
    found = contender.weights()
    return max(_error(*tensors) for tensors in zip(found, others, gradients, strict=True)), first


def _error(weights, *gradients):
    flat = [np.reshape(g, -1) for g in gradients]
    weights = np.reshape(weights, -1)
    chunks = range(0, weights.size, CHUNK)
    return max(_error_of_chunk(weights[i : i + CHUNK], *(g[i : i + CHUNK] for g in flat)) for i in chunks)


def _error_of_chunk(weights, *gradients):
    expected = adam(*(np.asarray(g, np.float64) for g in gradients))
    # NaN is no small error.
    return np.nan_to_num(np.abs(weights - expected), nan=np.inf).max() / ADAM["learning_rate"]


def adam(*gradients):
    """Kingma and Ba's algorithm 1 from zero, one update per gradient."""
    weight = mean = square = 0.0
    for t, g in enumerate(gradients, 1):
        mean = ADAM["beta_1"] * mean + (1 - ADAM["beta_1"]) * g
        square = ADAM["beta_2"] * square + (1 - ADAM["beta_2"]) * g * g
        unbiased = mean / (1 - ADAM["beta_1"] ** t), square / (1 - ADAM["beta_2"] ** t)
        weight = weight - ADAM["learning_rate"] * unbiased[0] / (np.sqrt(unbiased[1]) + ADAM["epsilon"])
    return weight
