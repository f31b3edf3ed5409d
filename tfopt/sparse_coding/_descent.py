"""Sweeps over all samples until the cost no longer falls."""

import enum
import itertools
from typing import NamedTuple


class Status(enum.Enum):
    """How a fit ended, with a sentence each."""

    CONVERGED = "A sweep lowered the cost by no more than the tolerance."
    STALLED = "Rounding keeps the cost from falling any further."
    MAX_SWEEPS = "The number of sweeps is spent."


class Fit(NamedTuple):
    """What a full-batch fit found.

    Attributes:
        objective: J at the end, summed over the samples.
        history: J after each sweep; never rises.
        sweeps: Number of sweeps that lowered J.
        status: `Status`; its value is a sentence.
    """

    objective: float
    history: list[float]
    sweeps: int
    status: Status


def descend(sweep, start, max_sweeps, tolerance, tell):
    """Repeat `sweep` while it pays.

    Args:
        sweep: ``sweep(atoms, codes)`` answers with a `Dictionary`, codes, cost and number of replaced atoms.
        start: (atoms, codes) to begin with.
        max_sweeps: Sweeps at most.
        tolerance: Stop when a sweep lowers the cost J by no more than `tolerance` J.
        tell: ``tell(sweeps, cost, last)``, called after each.

    Returns:
        The last `Dictionary` that is no worse than the one before, and a `Fit`.
    """
    history: list[float] = []
    (atoms, codes), best = start, None
    status = Status.MAX_SWEEPS
    while len(history) < max_sweeps and status is Status.MAX_SWEEPS:
        dictionary, codes, cost, replaced = sweep(atoms, codes)
        cost = float(cost)
        status = _status(history, cost, int(replaced), tolerance)
        if status is not Status.STALLED:
            atoms, best = dictionary.atoms, dictionary
            history.append(cost)
        tell(len(history), history[-1], status is not Status.MAX_SWEEPS or len(history) == max_sweeps)
    return best, Fit(history[-1], history, len(history), status)


def _status(history, cost, replaced, tolerance):
    """How things stand after one more sweep; MAX_SWEEPS means that it goes on if it may."""
    if not history:
        return Status.MAX_SWEEPS
    if cost > history[-1]:
        return Status.STALLED
    recent = [*history[-2:], cost]
    small = [old - new <= tolerance * cost for old, new in itertools.pairwise(recent)]
    # An atom that has just been replaced lowers the cost only in the next sweep.
    settled = (small[-1] and replaced == 0) or small == [True, True]
    return Status.CONVERGED if settled else Status.MAX_SWEEPS
