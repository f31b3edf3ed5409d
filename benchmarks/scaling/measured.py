"""Seconds and bytes of a step on one, two and three workers, beside what the cost model says."""

from benchmarks.scaling import _cost, _measure

TITLE = "Synchronous training on several workers of one machine: one batch of 96 samples for all, float32"
MOST_ROUNDS = _measure.MOST_ROUNDS


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    found = _measure.measured(smoke, rounds)
    whole = max(batch for _, _, batch in found.steps)
    for name in found.cases:
        for (case, workers, batch), result in found.steps.items():
            if (case, batch) == (name, whole):
                yield row(found, name, workers, batch, result)


def row(found, name, workers, batch, result):
    """What was measured of one case, and what the model says."""
    case, seconds = found.cases[name], result["seconds"]
    said = _cost.step(found.work[name], found.network, workers, batch, case.payload, _measure.CORES)
    return {
        "method": case.method,
        "weights": case.weights,
        "workers": workers,
        "step ms": 1e3 * seconds,
        "model ms": 1e3 * said,
        "model / measured": said / seconds,
        "kB sent": 1e-3 * result["sent"],
        "kB by formula": 1e-3 * _cost.on_the_wire(workers, case.payload),
    }
