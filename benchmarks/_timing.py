"""Times of several contenders measured in turn, so that a noisy machine is noisy for all of them."""

import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Ratio(NamedTuple):
    """Quartiles of the ratios of two contenders' times, round by round."""

    low: float
    median: float
    high: float


class Times:
    """Seconds of each contender, by round."""

    def __init__(self, seconds: Mapping):
        self.seconds = {name: np.asarray(values) for name, values in seconds.items()}

    def __add__(self, other):
        return Times({name: [*self.seconds[name], *other.seconds[name]] for name in self.seconds})

    def milliseconds(self, name):
        """Median over the rounds."""
        return 1e3 * float(np.median(self.seconds[name]))

    def ratio(self, name, base):
        """How many times as long as `base` the contender `name` takes."""
        return Ratio(*np.percentile(self.seconds[name] / self.seconds[base], (25, 50, 75)).tolist())


def measure(contenders: Mapping[str, Callable[[], object]], rounds, clock=time.perf_counter, rest=0.0):
    """Call each contender once a round, in an order drawn anew each time; the first round is not counted.

    Args:
        contenders: Functions without arguments that return when their work is done.
        rounds: Number of rounds that count.
        clock: Seconds since some moment.
        rest: Seconds to wait before each call, for threads of the one before that spin before they sleep.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for k in range(rounds + 1):
        for name in random.Random(k).sample(list(contenders), len(contenders)):
            time.sleep(rest)
            elapsed = time_once(contenders[name], clock)
            if k > 0:
                seconds[name].append(elapsed)
    return Times(seconds)


def time_once(function, clock=time.perf_counter):
    """Seconds of one call."""
    start = clock()
    function()
    return clock() - start
