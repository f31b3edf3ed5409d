"""Adam by tfopt's kernels and by other libraries, in one process, beside the memory's limit."""

import gc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import tfopt
from benchmarks import _shapes
from benchmarks._bandwidth import bandwidth_limit, bytes_moved
from benchmarks._contenders import jax, tensorflow, torch
from benchmarks._contenders.check import TOLERANCE, error_after_two_updates
from benchmarks._timing import measure

TITLE = "Adam, other libraries"
PACKAGES = ("torch", "optax", "jax", "deepspeed")
SLOTS = 2
# Seconds before each measurement: OpenMP's threads look for more work before they sleep.
REST = 0.01

OWN = {"fused": tensorflow.fused, "fused again": tensorflow.fused, "fused jit": tensorflow.fused_jit}
PEERS = {
    "keras": tensorflow.plain_keras,
    "keras jit": tensorflow.keras_jit,
    "ResourceApplyAdam": tensorflow.raw_op,
    "torch fused": torch.torch_fused,
    "torch foreach": torch.torch_foreach,
    "optax jit, donated": jax.Optax,
    "DeepSpeedCPUAdam": torch.deepspeed,
}
# They need minutes to be traced for 2,000 variables.
SLOW = {"fused jit", "keras", "keras jit"}
SIZES = {
    "50M × 1": (_shapes.single, ()),
    "ResNet-50, 214 tensors": (_shapes.resnet50, ()),
    "2,000 × 1,000": (_shapes.many, SLOW),
}
SMOKE = {
    "100 × 1": (lambda: _shapes.single(100), ()),
    "3 × 4": (lambda: _shapes.many(3, 4), SLOW),
}


def run(smoke, rounds, slow=False):
    """Rows of the table, one at a time."""
    for name, (shapes, slow_ones) in (SMOKE if smoke else SIZES).items():
        for row in compare(shapes(), rounds, () if slow else slow_ones):
            yield {"variables": name, **row}
        gc.collect()


def compare(shapes, rounds, left_out=()):
    """One row per contender, also for those that could not run; all that could take turns."""
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(shape, np.float32) for shape in shapes]
    entries = {name: entry(name, gradients, left_out) for name in OWN | PEERS}
    ready = {name: found.contender for name, found in entries.items() if found.contender}
    limit = bandwidth_limit(bytes_moved(_shapes.parameters(shapes), SLOTS))
    times = measure({"limit": limit, **ready}, rounds, rest=REST)
    return [row(name, times, found) for name, found in entries.items()]


class Entry(NamedTuple):
    """A contender that has shown that it computes Adam, or none and why; seconds of its first call."""

    contender: Callable | None = None
    first: float | None = None
    note: str = ""


def entry(name, gradients, left_out):
    """The contender of that name for these gradients."""
    if name in left_out:
        return Entry(note="left out: minutes of tracing, run with --slow")
    if name in OWN:
        return checked(OWN[name], gradients)._replace(note=_without_kernels())
    try:
        return checked(PEERS[name], gradients)
    except Exception as error:  # Whatever keeps another library from running is told in its row.
        return Entry(note=f"did not run: {type(error).__name__}: {str(error).splitlines()[0]}")


def checked(make, gradients):
    """A new contender after two updates.

    Raises:
        ArithmeticError: If they were not Adam's.
    """
    contender = make(gradients)
    error, first = error_after_two_updates(contender, gradients)
    if not error <= TOLERANCE:
        raise ArithmeticError(f"weights are wrong by {error:.2g} steps")
    return Entry(contender, first)


def row(name, times, found):
    """What was measured for one contender, None where it did not run."""
    ran = found.contender is not None
    return {
        "update": name,
        "limit ms": times.milliseconds("limit"),
        "ms": times.milliseconds(name) if ran else None,
        "limit / update": times.ratio("limit", name) if ran else None,
        "update / fused": times.ratio(name, "fused") if ran else None,
        "first call s": found.first,
        "note": found.note,
    }


def _without_kernels():
    reason = tfopt.kernels.status().reason
    return f"the Python rule: {reason}" if reason else ""
