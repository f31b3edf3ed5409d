"""Loss and accuracy against evaluations and seconds."""

import dataclasses

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tfopt.compare.curves import summarize
from tfopt.compare.figures.style import FAINT, draw, styles

AXES = {"evaluations": "gradient evaluations", "seconds": "seconds of training"}


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What a vertical axis shows."""

    name: str
    title: str
    less_is_better: bool


SMALLEST_ERROR = 1e-4

LOSS = Quantity("train_loss", "Training loss", True)
ACCURACY = Quantity("validation_accuracy", "Validation accuracy", False)
QUANTITIES = (ACCURACY, LOSS)


def all_curves(runs, axis, quantity):
    """One `Curve` per optimizer, without those that have no finite point."""
    made = {label: summarize(group, axis, quantity.name) for label, group in runs.items()}
    return {label: curve for label, curve in made.items() if np.isfinite(curve.median).any()}


def overview(name, runs, axis, quantity):
    """Medians of all optimizers in one figure, named below it from best to worst, column by column.

    Args:
        name: Unique name of the figure.
        runs: Dictionary from optimizer to `Run`s.
        axis: "evaluations" or "seconds".
        quantity: `LOSS` or `ACCURACY`.

    Returns:
        SVG.
    """
    curves, looks = all_curves(runs, axis, quantity), styles(runs)
    order = sorted(curves, key=lambda label: _end(curves[label]), reverse=not quantity.less_is_better)

    def plot(axes):
        for rank, label in enumerate(order):
            curve, look = curves[label], looks[label]
            axes.plot(
                curve.x,
                curve.median,
                label=label,
                color=look.color,
                linestyle=look.dashes,
                linewidth=1.3,
                marker=look.marker,
                markersize=3.8,
                markevery=(rank % 5, 5),
            )
        _scales(axes, curves, axis, quantity)
        axes.set_ylabel(quantity.title)
        if order:
            axes.figure.legend(loc="outside lower center", ncols=3, frameon=False, handlelength=3.2)

    return draw(name, (5.2, 4.6), plot)


def _end(curve):
    return curve.median[np.isfinite(curve.median)][-1]


def panel(name, label, runs, axis, quantity):
    """One optimizer's median and range over seeds, with all the others faint behind it.

    Args:
        name: Unique name of the figure.
        label: The optimizer.
        runs: Dictionary from optimizer to `Run`s.
        axis: "evaluations" or "seconds".
        quantity: `LOSS` or `ACCURACY`.

    Returns:
        SVG.
    """
    curves, look = all_curves(runs, axis, quantity), styles(runs)[label]

    def plot(axes):
        for other, curve in curves.items():
            if other != label:
                axes.plot(curve.x, curve.median, color=FAINT, linewidth=0.7)
        if label in curves:
            curve = curves[label]
            axes.fill_between(curve.x, curve.low, curve.high, color=look.color, alpha=0.25, linewidth=0)
            axes.plot(curve.x, curve.median, color=look.color, linewidth=1.8)
        _scales(axes, curves, axis, quantity)

    return draw(name, (2.7, 1.9), plot)


def _scales(axes, curves, axis, quantity):
    axes.set_xlabel(AXES[axis])
    axes.set_xlim(0, max((curve.x[-1] for curve in curves.values()), default=1))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    values = np.concatenate([np.zeros(0), *(curve.median for curve in curves.values())])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        axes.text(0.5, 0.5, "nothing that all seeds share", transform=axes.transAxes, ha="center")
    else:
        SCALES[quantity.name](axes, values)


def _loss_scale(axes, values):
    """Logarithmic; a run that blows up before it ends must not flatten all the others."""
    axes.set_yscale("log")
    axes.set_ylim(values.min() / 1.2, min(values.max(), 30 * np.median(values)) * 1.2)
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _accuracy_scale(axes, values):
    """Logarithmic in the error, so that 98 % and 99 % are as far apart as 80 % and 90 %."""
    axes.set_yscale("function", functions=(_from_accuracy, _to_accuracy))
    axes.set_ylim(max(0.0, np.quantile(values, 0.02) - 0.05), 1.0 - 0.8 * (1.0 - values.max()))
    axes.yaxis.set_major_locator(FixedLocator(_round_accuracies(*axes.get_ylim())))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def _round_accuracies(low, high, most=6):
    """Accuracies whose error has one digit, so many of them as an axis can carry."""
    errors = [digit / 10**power for power in (1, 2, 3) for digit in range(9, 0, -1)]
    inside = [round(1 - error, 4) for error in errors if low <= 1 - error <= high]
    return inside[:: max(1, -(-len(inside) // most))]


def _from_accuracy(accuracy):
    return -np.log(np.maximum(1.0 - np.asarray(accuracy), 0.0) + SMALLEST_ERROR)


def _to_accuracy(place):
    return 1.0 + SMALLEST_ERROR - np.exp(-np.asarray(place))


SCALES = {LOSS.name: _loss_scale, ACCURACY.name: _accuracy_scale}
