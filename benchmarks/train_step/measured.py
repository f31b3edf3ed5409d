"""Adam in a whole train step on CPU, its memory from the system in each step or kept: `keep_memory`."""

import functools

from benchmarks._bandwidth import bandwidth_limit, bytes_moved
from benchmarks._timing import measure
from benchmarks.train_step._models import STEPS, Size
from benchmarks.train_step._process import Process

TITLE = "Adam, whole train step"
SLOTS = 2
REST = 0.01
SIZES = {"4 × 2,048": Size(4, 2048, 8), "100 × 512": Size(100, 512, 8)}
SMOKE = {"2 × 8": Size(2, 8, 3)}


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    for name, size in (SMOKE if smoke else SIZES).items():
        for row in compare(size, rounds):
            yield {"layers": name, **row}


def compare(size, rounds):
    """One row per step; the steps of both processes take turns."""
    with Process(size, keeps_memory=False) as plain, Process(size, keeps_memory=True) as kept:
        contenders = {
            (name, process is kept): functools.partial(process.step, name)
            for name in STEPS
            for process in (plain, kept)
        }
        limit = bandwidth_limit(bytes_moved(size.parameters, SLOTS))
        # The first round traces and compiles, the second fills what is kept.
        measure(contenders, 1)
        times = measure({"limit": limit, **contenders}, rounds, rest=REST)
    return [row(name, times) for name in STEPS]


def row(name, times):
    """What was measured for one step."""
    jit = " jit" if STEPS[name][1] else ""
    update = times.milliseconds((name, True)) - times.milliseconds((f"gradients{jit}", True))
    return {
        "step": name,
        "limit ms": times.milliseconds("limit"),
        "ms": times.milliseconds((name, False)),
        "kept ms": times.milliseconds((name, True)),
        "ms / kept": times.ratio((name, False), (name, True)),
        "kept / fused kept": times.ratio((name, True), (f"fused{jit}", True)),
        "limit / update": times.milliseconds("limit") / update if STEPS[name][0] else None,
    }
