"""Normalisation layers, forward and backward, beside the memory's limit, Keras and torch."""

import functools
import gc
import math
import time

import numpy as np

import tfopt
from benchmarks._bandwidth import bandwidth_limit
from benchmarks._contenders.normalization import Case, Torch, arrays, exact, of_keras, own
from benchmarks._timing import measure

TITLE = "Normalisation, forward and backward"
PACKAGES = ("torch",)
IMAGES = (32, 56, 56, 64)
KINDS = {
    "LN 8192 × 1024": ("layer", (8192, 1024)),
    "LN 64 × 128 × 768": ("layer", (64, 128, 768)),
    "GN 32 × 56 × 56 × 64": ("group", IMAGES),
    "IN 32 × 56 × 56 × 64": ("instance", IMAGES),
    "BN 32 × 56 × 56 × 64": ("batch", IMAGES),
}
SMOKE = {"LN 8 × 64": ("layer", (8, 64)), "GN 2 × 4 × 4 × 64": ("group", (2, 4, 4, 64))}
DTYPES = {"float32": 4, "bfloat16": 2}
# Tensors as large as x that must be moved: forward x and y, backward x, ∇y and ∇x. A batch is larger than a
# cache, and its statistics and sums are needed before anything can be written: x once more, x and ∇y too.
MOVED = {"layer": 5, "group": 5, "instance": 5, "batch": 8}
# Largest error of each result, by its largest number.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
REST = 0.01

CONTENDERS = {
    "tfopt": own,
    "tfopt again": own,
    "tfopt jit": functools.partial(own, jit_compile=True),
    "tfopt, Python": functools.partial(own, fused=False),
    "tfopt, Python jit": functools.partial(own, fused=False, jit_compile=True),
    "keras": of_keras,
    "keras jit": functools.partial(of_keras, jit_compile=True),
    "torch": Torch,
}


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    # Loads the kernels: XLA can use them only if they are there before TensorFlow's first op.
    tfopt.kernels.status()
    for name, (kind, shape) in (SMOKE if smoke else KINDS).items():
        for dtype in DTYPES:
            for row in compare(Case(kind, shape, dtype), rounds):
                yield {"layer": name, "dtype": dtype, **row}
            gc.collect()


def compare(case, rounds):
    """One row per contender, also for those that could not run; all that could take turns."""
    expected = exact(case)
    made = {name: checked(make, case, expected) for name, make in CONTENDERS.items()}
    ready = {name: found for name, (found, _) in made.items() if found}
    total = MOVED[case.kind] * math.prod(case.shape) * DTYPES[case.dtype]
    times = measure({"limit": bandwidth_limit(total), **ready}, rounds, rest=REST)
    return [row(name, times, *found) for name, found in made.items()]


def checked(make, case, expected):
    """A contender that has shown that it computes the formulas, and nothing; or none, and why."""
    try:
        start = time.perf_counter()
        contender = make(case)
        found = arrays(contender)
        first = time.perf_counter() - start
        parts = zip(found, expected, strict=True)
        error = max(float(np.max(np.abs(f - e)) / np.max(np.abs(e))) for f, e in parts)
        if not error <= TOLERANCE[case.dtype]:
            raise ArithmeticError(f"results are wrong by {error:.2g} of the largest")
    except Exception as error:  # Whatever keeps another library from running is told in its row.
        if make is own:
            raise
        return None, f"did not run: {type(error).__name__}: {str(error).splitlines()[0]}"
    return contender, f"{first:.2g} s to the first result"


def row(name, times, found, note):
    """What was measured for one contender, None where it did not run."""
    return {
        "passes": name,
        "limit ms": times.milliseconds("limit"),
        "ms": times.milliseconds(name) if found else None,
        "limit / passes": times.ratio("limit", name) if found else None,
        "passes / tfopt": times.ratio(name, "tfopt") if found else None,
        "note": note,
    }
