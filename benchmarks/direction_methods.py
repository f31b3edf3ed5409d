"""What a step of L-BFGS takes beyond its gradient, beside the memory's limit and other libraries."""

import gc

import numpy as np

import tfopt
from benchmarks._bandwidth import bandwidth_limit, traffic_limit
from benchmarks._contenders.direction import HISTORY, Optax, Tfopt, Torch
from benchmarks._timing import measure

TITLE = "L-BFGS, one step beyond its gradient"
PACKAGES = ("torch", "optax", "jax")
SIZES = {"10⁴": 10**4, "10⁶": 10**6, "10⁷": 10**7}
SMOKE = {"100": 100}
WARM = HISTORY + 2  # steps, until the history is full
# Seconds before each measurement: other libraries' threads look for more work before they sleep.
REST = 0.01

OWN = {
    "tfopt": Tfopt,
    "tfopt jit": lambda size: Tfopt(size, jit_compile=True),
    "tfopt, Python": lambda size: Tfopt(size, fused=False),
}
COLUMNS = ("limit ms", "own mix ms", "gradient ms", "beyond ms", "limit / beyond", "own mix / beyond")
PEERS = {"torch": Torch, "optax jit, donated": Optax}


# Vectors that a step must read: S and Y twice, point, iterate, gradient, the last gradient and direction; and
# write: point, iterate, gradient, direction and a row each of S and Y.
READ, WRITTEN = 4 * HISTORY + 5, 6


def limits(size):
    """What moves as many bytes as a step must: all as ``y += x``, and in the step's own mix."""
    vector = 4 * size
    return {
        "limit": bandwidth_limit((READ + WRITTEN) * vector),
        "own mix": traffic_limit(READ * vector, WRITTEN * vector),
    }


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    # Loads the kernels: XLA can use them only if they are there before TensorFlow's first op.
    tfopt.kernels.status()
    for name, size in (SMOKE if smoke else SIZES).items():
        for row in compare(size, rounds):
            yield {"weights": name, **row}
        gc.collect()


def compare(size, rounds):
    """One row per contender, also for those that could not run; all that could take turns."""
    made = {name: contender(make, size) for name, make in (OWN | PEERS).items()}
    ready = {name: found for name, (found, _) in made.items() if found}
    calls = limits(size)
    for name, found in ready.items():
        calls |= {name: found.step, f"{name}: gradient": found.evaluate}
    times = measure(calls, rounds, rest=REST)
    return [row(name, times, found, note) for name, (found, note) in made.items()]


def contender(make, size):
    """A contender whose history is full, and nothing; or none, and why."""
    try:
        found = make(size)
        before = found.loss()
        for _ in range(WARM):
            found.step()
        if not found.loss() < before:
            raise ArithmeticError("it does not lower the loss")
    except Exception as error:  # Whatever keeps another library from running is told in its row.
        if make in OWN.values():
            raise
        return None, f"did not run: {type(error).__name__}: {str(error).splitlines()[0]}"
    return found, ""


def row(name, times, found, note):
    """What was measured for one contender, None where it did not run."""
    if not found:
        return {"step": name} | dict.fromkeys(COLUMNS) | {"note": note}
    beyond = times.seconds[name] - times.seconds[f"{name}: gradient"]
    return {
        "step": name,
        "limit ms": times.milliseconds("limit"),
        "own mix ms": times.milliseconds("own mix"),
        "gradient ms": times.milliseconds(f"{name}: gradient"),
        "beyond ms": 1e3 * float(np.median(beyond)),
        "limit / beyond": float(np.median(times.seconds["limit"] / beyond)),
        "own mix / beyond": float(np.median(times.seconds["own mix"] / beyond)),
        "note": note,
    }
