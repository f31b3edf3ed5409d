"""Tuning, leaderboard and curves, on runs made by hand."""

import math

import numpy as np
import pytest

from tfopt.compare import wording
from tfopt.compare.curves import summarize
from tfopt.compare.leaderboard import Spread, leaderboard
from tfopt.compare.run import Point, Run, Task
from tfopt.compare.specs import parse_optimizer
from tfopt.compare.tuning import Rate, choose_rate


def made(name="SGD", rate=0.1, seed=1, losses=(1.0,), accuracies=None, seconds=1.0, diverged=False):
    accuracies = accuracies or [0.5] * len(losses)
    points = tuple(
        Point(10 * k, seconds * k, loss, loss, accuracy)
        for k, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    )
    return Run(Task(name, rate, seed, "comparison"), points, 0.5, diverged)


def test_tuning_takes_the_lowest_last_loss():
    trials = [made(rate=rate, losses=(0.0, loss)) for rate, loss in ((0.01, 3.0), (0.1, 1.0), (1.0, 2.0))]
    assert choose_rate(trials) == Rate(0.1, "tuned", at_edge=False)


def test_tuning_says_when_the_best_is_at_the_edge():
    trials = [made(rate=rate, losses=(rate,)) for rate in (0.01, 0.1, 1.0)]
    assert choose_rate(trials).at_edge
    assert not choose_rate(trials[:1]).at_edge


def test_a_diverged_trial_loses():
    good = made(rate=1.0, losses=(50.0,))
    bad = made(rate=0.1, losses=(math.nan,), diverged=True)
    assert choose_rate([bad, good]).value == 1.0
    assert choose_rate([bad, made(rate=3.0, losses=(math.nan,), diverged=True)]).value == 0.1


def test_leaderboard_ranks_by_final_accuracy_and_reports_arrival():
    specs = [parse_optimizer("SGD"), parse_optimizer("Adam")]
    runs = {
        "SGD": [
            made(losses=(3, 2, 1), accuracies=(0.5, 0.9, 0.6)),
            made(losses=(3, 2, 1), accuracies=(0.1, 0.2, 0.8)),
        ],
        "Adam": [made("Adam", losses=(1, 1), accuracies=(0.7, 0.9))] * 2,
    }
    rates = {"SGD": Rate(0.1, "tuned", at_edge=True), "Adam": Rate(0.2, "given")}
    best, worst = leaderboard(specs, rates, runs, target_accuracy=0.8)
    assert (best.optimizer, worst.optimizer) == ("Adam", "SGD")
    assert worst.final_accuracy.mean == pytest.approx(0.7)
    assert worst.final_accuracy.deviation == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert worst.best_accuracy.mean == pytest.approx(0.85)
    assert (worst.reached, worst.evaluations_to_target.mean, worst.seconds_to_target.mean) == (2, 25.0, 2.5)
    assert best.evaluations_to_target == Spread(20.0, 0.0)
    assert "edge" in worst.note
    assert "edge" not in best.note


def test_targets_must_be_met_together():
    found = made(losses=(3, 2, 1), accuracies=(0.9, 0.5, 0.9))
    assert found.first_reaching(accuracy=0.9).evaluations == 10
    assert found.first_reaching(loss=2.0).evaluations == 20
    assert found.first_reaching(accuracy=0.9, loss=2.0).evaluations == 30
    assert found.first_reaching(accuracy=0.95) is None


def test_a_target_that_only_some_reach_says_so():
    runs = {"SGD": [made(accuracies=(0.9,)), made(accuracies=(0.1,))]}
    (row,) = leaderboard([parse_optimizer("SGD")], {"SGD": Rate(0.1, "given")}, runs, target_accuracy=0.8)
    assert wording.to_target(row, wording.count(row.evaluations_to_target)) == "10 (1 of 2)"


def test_diverged_seeds_are_named_and_left_out_of_the_loss():
    runs = {"SGD": [made(losses=(1.0,)), made(losses=(math.nan,), diverged=True)]}
    (row,) = leaderboard([parse_optimizer("SGD")], {"SGD": Rate(0.1, "given")}, runs)
    assert row.train_loss == Spread(1.0, None)
    assert "diverged at 1 of 2 seeds" in row.note


def test_full_batch_methods_carry_a_note():
    (row,) = leaderboard(
        [parse_optimizer("DeltaBarDelta")],
        {"DeltaBarDelta": Rate(0.1, "given")},
        {"DeltaBarDelta": [made("DeltaBarDelta")]},
    )
    assert "full batch" in row.note


def test_curve_is_median_and_range_on_the_seconds_all_runs_share():
    slow, fast = made(losses=(4.0, 2.0, 0.0), seconds=2.0), made(losses=(4.0, 2.0, 0.0), seconds=1.0)
    curve = summarize([slow, fast], "seconds", "train_loss", count=3)
    np.testing.assert_allclose(curve.x, [2.0, 2.5, 3.0])
    np.testing.assert_allclose(curve.low, [2.0, 1.0, 0.0])
    np.testing.assert_allclose(curve.high, [4.0, 3.5, 3.0])
    np.testing.assert_allclose(curve.median, (curve.low + curve.high) / 2)


def test_runs_without_a_common_second_give_an_empty_curve():
    early = made(losses=(1.0, 1.0), seconds=1.0)
    late = made(losses=(1.0,), seconds=10.0)
    assert len(summarize([early, late], "seconds", "train_loss").x) == 0


def test_numbers_as_text():
    assert wording.percent(Spread(0.9345, 0.0049)) == "93.5 ± 0.5 %"
    assert wording.percent(Spread(0.5, None)) == "50.0 %"
    assert wording.loss(Spread(0.000416, 0.0000779)) == "0.00042 ± 0.00008"
    assert wording.loss(Spread(12.3, 4.0)) == "12 ± 4"
    assert wording.loss(Spread(0.0, 0.0)) == "0 ± 0"
    assert wording.loss(None) == wording.NOTHING
    assert wording.height(1e-9) == "below 10⁻⁶"
    assert wording.height(0.0000191) == "0.000019"
