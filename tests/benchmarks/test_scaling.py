"""The cost model of synchronous training: its formulas, its fits, and the cluster it is measured on."""

import functools
import itertools

import numpy as np
import pytest


@pytest.fixture
def scaling(benchmarks):
    """scaling(name): a module of benchmarks/scaling."""
    return lambda name: benchmarks(f"scaling.{name}")


def ring(parts):
    """Sums lists of equal length around a ring, message by message; the sums and the messages sent."""
    n, sent = len(parts), 0
    parts = [list(part) for part in parts]
    for gather, shift in itertools.product((False, True), range(n - 1)):
        before = [list(part) for part in parts]
        for worker in range(n):
            piece = (worker - shift + gather) % n
            there = parts[(worker + 1) % n]
            there[piece] = before[worker][piece] + (0 if gather else there[piece])
            sent += 1
    return parts, sent


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_bytes_on_the_wire_are_those_of_a_ring(scaling, workers):
    values = np.random.default_rng(0).normal(size=(workers, workers))
    sums, sent = ring(values)
    np.testing.assert_allclose(sums, [values.sum(0)] * workers)
    size = 40 * workers
    assert scaling("_cost").on_the_wire(workers, size) == sent * (size / workers)


def test_an_all_reduce_takes_latency_and_bandwidth(scaling):
    cost = scaling("_cost")
    network = cost.Network("", latency=0.5, bandwidth=8.0)
    assert network.all_reduce(1, 100) == 0.0
    assert network.all_reduce(4, 64) == 6 * (0.5 + 16 / 8)
    tree = network._replace(tree=True)
    # Ten levels up and down for 1,024, eleven for one more.
    assert [tree.all_reduce(n, 64) for n in (1024, 1025)] == [20 * 0.5 + 16, 22 * 0.5 + 16]


def test_workers_beyond_the_cores_take_turns(scaling):
    cost = scaling("_cost")
    work, network = cost.Work(fixed=1.0, sample=0.25), cost.Network("", latency=0.5, bandwidth=8.0)
    alone = cost.step(work, network, 4, 16, 64)
    # The optimizer's sum of 64 bytes, and one number that `fit` logs.
    assert alone == 1 + 0.25 * 4 + 6 * (0.5 + 16 / 8) + 6 * (0.5 + 1 / 8)
    assert cost.step(work, network, 4, 16, 64, cores=3) == pytest.approx(alone * 4 / 3)
    assert cost.step(work, network, 4, 16, 64, cores=5) == alone
    assert cost.efficiency(work, network, 4, 16, 64) == 2 / alone


def test_fits_find_what_the_times_were_made_of(scaling):
    cost = scaling("_cost")
    work = cost.Work(fixed=3e-3, sample=2e-5)
    assert cost.fitted_work({n: work(n) for n in (32, 48, 96)}) == pytest.approx(work)
    network = cost.Network("here", latency=2e-4, bandwidth=3e8)
    times = {
        (n, size): max(1, n / 2) * network.all_reduce(n, size) for n in (2, 3) for size in (4, 10**5, 10**7)
    }
    found = cost.fitted_network("here", times, cores=2)
    assert (found.name, found.tree) == ("here", False)
    assert found[1:3] == pytest.approx(network[1:3])


def test_a_fit_never_says_that_work_takes_less_than_no_time(scaling):
    # Noise: the smaller share took longer.
    work = scaling("_cost").fitted_work({32: 2e-3, 48: 1.5e-3, 96: 1e-3})
    assert min(work) > 0


@pytest.mark.parametrize("name", ["Adam, 10⁵", "LBFGS, 10⁶", "NewtonCG, 10⁶", "Newton, 10³"])
def test_a_case_knows_its_weights(scaling, name):
    case = scaling("_cases").CASES[name]
    weights = case.model().count_params()
    assert case.weights == weights
    numbers = {"Adam": weights, "LBFGS": weights + 1, "NewtonCG": 2 * weights + 1}
    assert case.payload == 4 * numbers.get(case.method, weights**2 + weights + 1)


def test_calls_take_turns_and_the_first_round_does_not_count(scaling):
    calls = []

    def call(name):
        calls.append(name)
        return {"seconds": float(len(calls)), "sent": 5.0}

    made = {name: functools.partial(call, name) for name in "ab"}
    found = scaling("_measure").in_turns(made, 5)
    pairs = [calls[i : i + 2] for i in range(0, 12, 2)]
    assert all(sorted(pair) == ["a", "b"] for pair in pairs)
    assert len({tuple(pair) for pair in pairs}) == 2
    seconds = {name: [i + 1 for i, called in enumerate(calls) if called == name] for name in "ab"}
    for name, result in found.items():
        assert result == {"seconds": np.median(seconds[name][1:]), "sent": 5.0}


def test_a_worker_that_ends_is_an_error_with_what_it_said(scaling):
    with scaling("_cluster").Cluster(1) as cluster, pytest.raises(RuntimeError, match="no_such_command"):
        cluster.call("no_such_command")
