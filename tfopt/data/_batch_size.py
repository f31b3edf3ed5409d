"""Batch size as a function of the epoch."""

import itertools
import math

from tfopt._check import is_integer, is_number, require, require_integer, require_positive

_LARGEST = 2**62


def _is_size(value):
    return is_integer(value) and value >= 1


def _require_growth(sizes, schedule):
    grows = all(map(_is_size, sizes)) and all(a <= b for a, b in itertools.pairwise(sizes))
    require(
        grows and sizes, "GrowingBatches", "schedule", schedule, "integer batch sizes >= 1 that never shrink"
    )


def _from_list(sizes, schedule):
    _require_growth(sizes, schedule)
    return lambda epoch: sizes[min(epoch, len(sizes) - 1)]


def _from_dict(steps, schedule):
    epochs = sorted(steps)
    require(0 in steps, "GrowingBatches", "schedule", schedule, "a dict {epoch: batch size} with the key 0")
    _require_growth([steps[epoch] for epoch in epochs], schedule)
    return lambda epoch: steps[max(start for start in epochs if start <= epoch)]


def as_function(schedule):
    """Turn a callable, an integer, a list or a dict of batch sizes into a function epoch -> batch size."""
    if callable(schedule):
        return schedule
    if isinstance(schedule, dict):
        return _from_dict(dict(schedule), schedule)
    if isinstance(schedule, (list, tuple)):
        return _from_list(list(schedule), schedule)
    require(
        _is_size(schedule),
        "GrowingBatches",
        "schedule",
        schedule,
        "a function epoch -> batch size, a list, a dict {epoch: batch size} or an integer >= 1",
    )
    return lambda epoch: schedule


def require_size(size, epoch):
    """Require what a user's schedule returned for `epoch` to be a batch size, and return it as an int."""
    expected = f"a schedule whose value for every epoch is an integer >= 1, unlike the one for epoch {epoch}"
    require(_is_size(size), "GrowingBatches", "schedule(epoch)", size, expected)
    return int(size)


def geometric(start, factor=2.0, every=1, maximum=None):
    """Return the function epoch -> round(start · factor^⌊epoch / every⌋), at most `maximum`."""
    owner = "GrowingBatches.geometric"
    require_integer(owner, 1, start=start, every=every)
    require_positive(owner, factor=factor)
    require(is_number(factor) and factor >= 1, owner, "factor", factor, "factor >= 1")
    if maximum is not None:
        require_integer(owner, start, maximum=maximum)
    limit = _LARGEST if maximum is None else maximum

    def size(epoch):
        growth = (epoch // every) * math.log(factor)
        if growth >= math.log(limit / start):
            return limit
        return round(start * factor ** (epoch // every))

    return size
