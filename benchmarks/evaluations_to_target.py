"""Evaluations and seconds that L-BFGS takes to a given loss, in `fit` and in other libraries."""

import functools

import tfopt
from benchmarks._contenders.network import Fit, SciPy, Task, Torch
from benchmarks._timing import measure

TITLE = "L-BFGS on a network: evaluations and seconds to one loss, float32"
PACKAGES = ("torch", "scipy")
# Seconds before each measurement: other libraries' threads look for more work before they sleep.
REST = 0.01
# What a run costs keeps its number down.
MOST_ROUNDS = 3

STEPS = 5
OWN = {
    "tfopt fit": Fit,
    "tfopt fit jit": functools.partial(Fit, jit_compile=True),
    f"tfopt fit, {STEPS} steps an execution": functools.partial(Fit, steps_per_execution=STEPS),
    f"tfopt fit jit, {STEPS} steps an execution": functools.partial(
        Fit, jit_compile=True, steps_per_execution=STEPS
    ),
}
PEERS = {"SciPy L-BFGS-B": SciPy, "torch": Torch}
WIDTHS = (133, 1333, 13333)  # 10⁴, 10⁵ and 10⁶ weights
SAMPLES = 600
REFERENCE = 60  # evaluations of SciPy's, whose loss is the target


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    # Loads the kernels: XLA can use them only if they are there before TensorFlow's first op.
    tfopt.kernels.status()
    for width in (3,) if smoke else WIDTHS:
        task = Task(width, 50 if smoke else SAMPLES)
        target = float(SciPy(task).lowest(4 if smoke else REFERENCE))
        for row in compare(task, target, rounds):
            yield {"weights": task.size, "target": target, **row}


def compare(task, target, rounds):
    """One row per contender, also for those that could not run; those that reach the target take turns."""
    made = {name: contender(name, task, target) for name in OWN | PEERS}
    calls = {
        name: functools.partial(found.train, evaluations)
        for name, (found, evaluations, _) in made.items()
        if evaluations
    }
    for name in calls:
        if name in OWN:
            calls[name] = functools.partial(_from_the_start, made[name][0], made[name][1])
    times = measure(calls, rounds, rest=REST)
    return [row(name, times, *entry) for name, entry in made.items()]


def contender(name, task, target):
    """A contender, its evaluations to the target, and why there are none."""
    try:
        found = (OWN | PEERS)[name](task)
        evaluations = found.count(target)
    except Exception as error:  # Whatever keeps another library from running is told in its row.
        if name in OWN:
            raise
        return None, None, f"did not run: {type(error).__name__}: {str(error).splitlines()[0]}"
    return found, evaluations, "" if evaluations else "did not reach the target"


def row(name, times, found, evaluations, note):
    """What was measured for one contender, None where it has nothing to show."""
    ran = name in times.seconds
    return {
        "method": name,
        "evaluations": evaluations,
        "s": times.milliseconds(name) / 1e3 if ran else None,
        "time / tfopt fit": times.ratio(name, "tfopt fit") if ran and "tfopt fit" in times.seconds else None,
        "note": note,
    }


def _from_the_start(found, evaluations):
    found.start()
    found.train(evaluations)
