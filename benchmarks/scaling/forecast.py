"""The cost model at 8, 64 and 1,024 workers, on this machine's network and on a faster one."""

from benchmarks.scaling import _cost, _measure

TITLE = "What the cost model says of many workers: the same share of the batch for each, float32"
MOST_ROUNDS = _measure.MOST_ROUNDS
WORKERS = (8, 64, 1024)
# Figures of a data centre's network, rounded: 100 Gbit/s, ten microseconds a message.
FAST = {"latency": 1e-5, "bandwidth": 1.25e10}


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    found = _measure.measured(smoke, rounds)
    networks = (
        found.network,
        _cost.Network("ring", **FAST),
        _cost.Network("tree", **FAST, tree=True),
    )
    share = max(batch for _, _, batch in found.steps)
    for name, case in found.cases.items():
        for network in networks:
            yield row(case, found.work[name], network, share)


def row(case, work, network, share):
    """One method on one network."""
    model = {n: (work, network, n, n * share, case.payload) for n in WORKERS}
    return {
        "method": case.method,
        "weights": case.weights,
        "network": described(network),
        "ms on 1": 1e3 * work(share),
        **{f"on {n:,}": 1e3 * _cost.step(*arguments) for n, arguments in model.items()},
        **{f"efficiency on {n:,}": _cost.efficiency(*arguments) for n, arguments in model.items()},
    }


def described(network):
    """A network's name and figures."""
    figures = f"{1e6 * network.latency:.0f} µs, {1e-9 * network.bandwidth:.3g} GB/s"
    return f"{network.name}, {figures}"
