"""The table: one row per optimizer, mean and spread over seeds."""

import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds; the deviation of a single value is None."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values):
        """The spread of finite values, or None if there are none."""
        finite = [value for value in values if value is not None and math.isfinite(value)]
        if not finite:
            return None
        return cls(statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else None)


@dataclasses.dataclass(frozen=True)
class Row:
    """What the table says about one optimizer.

    Attributes:
        optimizer: Canonical name.
        learning_rate: ε of the runs.
        rate_source: "tuned", "given" or "default".
        rate_at_edge: Whether a tuned rate lies at the edge of those tried.
        final_accuracy: `Spread` of the validation accuracy at the end.
        best_accuracy: `Spread` of the best validation accuracy measured.
        test_accuracy: `Spread` of the test accuracy at the end, or None.
        train_loss: `Spread` of the training loss at the end, over the seeds that did not diverge.
        reached: Number of seeds that reached the target.
        evaluations_to_target: `Spread` over those seeds, or None.
        seconds_to_target: Likewise.
        seconds: `Spread` of the seconds of training.
        diverged: Number of seeds that diverged.
        seeds: Number of seeds.
        note: What else to know.
    """

    optimizer: str
    learning_rate: float
    rate_source: str
    rate_at_edge: bool
    final_accuracy: Spread
    best_accuracy: Spread
    test_accuracy: Spread | None
    train_loss: Spread | None
    reached: int
    evaluations_to_target: Spread | None
    seconds_to_target: Spread | None
    seconds: Spread
    diverged: int
    seeds: int
    note: str

    def flat(self):
        """The row as plain columns: a spread becomes two."""
        values = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in SPREADS:
                values[f"{field.name}_mean"] = value and value.mean
                values[f"{field.name}_sd"] = value and value.deviation
            else:
                values[field.name] = value
        return values


SPREADS = tuple(field.name for field in dataclasses.fields(Row) if "Spread" in str(field.type))


def leaderboard(specs, rates, runs, target_accuracy=None, target_loss=None):
    r"""Rank optimizers by their mean validation accuracy at the end.

    Args:
        specs: `OptimizerSpec`s.
        rates: Dictionary from label to `Rate`.
        runs: Dictionary from label to the list of that optimizer's `Run`s.
        target_accuracy: Validation accuracy to reach, or None.
        target_loss: Training loss to reach, or None; given both, both must be met.

    Returns:
        List of `Row`, best first.
    """
    rows = [_row(spec, rates[spec.label], runs[spec.label], target_accuracy, target_loss) for spec in specs]
    return sorted(
        rows, key=lambda row: (-row.final_accuracy.mean, row.train_loss.mean if row.train_loss else math.inf)
    )


def _row(spec, rate, runs, target_accuracy, target_loss):
    wanted = target_accuracy is not None or target_loss is not None
    arrivals = [run.first_reaching(target_accuracy, target_loss) for run in runs] if wanted else []
    arrivals = [point for point in arrivals if point is not None]
    return Row(
        optimizer=spec.label,
        learning_rate=rate.value,
        rate_source=rate.source,
        rate_at_edge=rate.at_edge,
        final_accuracy=Spread.of([run.last.validation_accuracy for run in runs]),
        best_accuracy=Spread.of([run.best_accuracy for run in runs]),
        test_accuracy=Spread.of([run.test_accuracy for run in runs]),
        train_loss=Spread.of([run.last.train_loss for run in runs if not run.diverged]),
        reached=len(arrivals),
        evaluations_to_target=Spread.of([point.evaluations for point in arrivals]),
        seconds_to_target=Spread.of([point.seconds for point in arrivals]),
        seconds=Spread.of([run.last.seconds for run in runs]),
        diverged=sum(run.diverged for run in runs),
        seeds=len(runs),
        note=_note(spec, rate, runs),
    )


def _note(spec, rate, runs):
    parts = [spec.note]
    if rate.at_edge:
        parts.append("its best rate is at the edge of those tried")
    diverged = sum(run.diverged for run in runs)
    if diverged:
        parts.append(f"diverged at {diverged} of {len(runs)} seeds")
    parts.extend(sorted({run.report for run in runs if run.report}))
    return "; ".join(part for part in parts if part)
