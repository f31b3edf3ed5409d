"""Numbers of the table as text, the same on the terminal and on the page."""

import math

import numpy as np

NOTHING = "–"


def percent(spread):
    """A `Spread` of shares: ``93.4 ± 0.5 %``."""
    if spread is None:
        return NOTHING
    return f"{_with_deviation(spread, lambda value: f'{100 * value:.1f}')} %"


def loss(spread):
    """A `Spread` of losses: two digits of the mean, the deviation to the same decimal."""
    if spread is None:
        return NOTHING
    decimals = max(0, 1 - math.floor(math.log10(spread.mean))) if spread.mean > 0 else 0
    if decimals > 8:
        return f"{spread.mean:.1e}"
    return _with_deviation(spread, lambda value: f"{value:.{decimals}f}")


def height(value):
    """A height above the minimum."""
    return "below 10⁻⁶" if value < 1e-6 else np.format_float_positional(value, precision=2, fractional=False)


def count(spread):
    """A `Spread` of whole numbers."""
    return NOTHING if spread is None else _with_deviation(spread, lambda value: f"{value:,.0f}")


def seconds(spread):
    """A `Spread` of seconds."""
    return NOTHING if spread is None else _with_deviation(spread, lambda value: f"{value:.2f}")


def rate(row):
    """A row's learning rate and where it comes from."""
    return f"{row.learning_rate:g}" + ("" if row.rate_source == "tuned" else f" ({row.rate_source})")


def to_target(row, text):
    """A time to the target; says how many seeds arrived if not all did."""
    if 0 < row.reached < row.seeds:
        return f"{text} ({row.reached} of {row.seeds})"
    return text


def target(settings):
    """The target as a phrase, or the empty string."""
    parts = []
    if settings.target_accuracy is not None:
        parts.append(f"{100 * settings.target_accuracy:g} % validation accuracy")
    if settings.target_loss is not None:
        parts.append(f"training loss {settings.target_loss:g}")
    return " and ".join(parts)


def columns(settings):
    """Pairs of heading and function of a `Row`, in the order of the table."""
    found = [
        ("Optimizer", lambda row: row.optimizer),
        ("Validation accuracy", lambda row: percent(row.final_accuracy)),
        ("Best", lambda row: percent(row.best_accuracy)),
        ("Test", lambda row: percent(row.test_accuracy)),
        ("Training loss", lambda row: loss(row.train_loss)),
        ("Evaluations to target", lambda row: to_target(row, count(row.evaluations_to_target))),
        ("Seconds to target", lambda row: to_target(row, seconds(row.seconds_to_target))),
        ("Seconds", lambda row: seconds(row.seconds)),
        ("Learning rate", rate),
    ]
    return [column for column in found if target(settings) or "target" not in column[0]]


def _with_deviation(spread, text):
    return text(spread.mean) + ("" if spread.deviation is None else f" ± {text(spread.deviation)}")
