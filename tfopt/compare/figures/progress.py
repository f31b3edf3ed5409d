"""Loss and accuracy against evaluations and seconds."""

import dataclasses

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from tfopt.compare.curves import summarize
from tfopt.compare.figures.style import FAINT, INK, draw, spread_out, styles

AXES = {"evaluations": "gradient evaluations", "seconds": "seconds of training"}


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What a vertical axis shows."""

    name: str
    title: str
    logarithmic: bool


LOSS = Quantity("train_loss", "Training loss", True)
ACCURACY = Quantity("validation_accuracy", "Validation accuracy", False)
QUANTITIES = (ACCURACY, LOSS)


def all_curves(runs, axis, quantity):
    """One `Curve` per optimizer, without those that have no finite point."""
    made = {label: summarize(group, axis, quantity.name) for label, group in runs.items()}
    return {label: curve for label, curve in made.items() if np.isfinite(curve.median).any()}


def overview(name, runs, axis, quantity):
    """Medians of all optimizers in one figure, each line labelled at its end.

    Args:
        name: Unique name of the figure.
        runs: Dictionary from optimizer to `Run`s.
        axis: "evaluations" or "seconds".
        quantity: `LOSS` or `ACCURACY`.

    Returns:
        SVG.
    """
    curves, looks = all_curves(runs, axis, quantity), styles(runs)

    def plot(axes):
        for label, curve in curves.items():
            look = looks[label]
            every = max(1, len(curve.x) // 6)
            axes.plot(
                curve.x,
                curve.median,
                color=look.color,
                linestyle=look.dashes,
                linewidth=1.4,
                marker=look.marker,
                markersize=3.6,
                markevery=every,
            )
        _scales(axes, curves, axis, quantity)
        axes.set_ylabel(quantity.title)
        _end_labels(axes, curves, looks)

    return draw(name, (6.2, 4.1), plot)


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
        _scales(axes, curves, axis, quantity, ticks=4)

    return draw(name, (2.7, 1.9), plot)


def _scales(axes, curves, axis, quantity, ticks=6):
    axes.set_xlabel(AXES[axis])
    axes.set_xlim(0, max((curve.x[-1] for curve in curves.values()), default=1))
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    values = np.concatenate([np.zeros(0), *(curve.median for curve in curves.values())])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    if quantity.logarithmic:
        axes.set_yscale("log")
        # A run that blows up before it ends must not flatten all the others.
        axes.set_ylim(values.min() / 1.2, min(values.max(), 30 * np.median(values)) * 1.2)
        axes.yaxis.set_major_locator(LogLocator(numticks=ticks))
        axes.yaxis.set_minor_locator(LogLocator(subs=()))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(max(0.0, np.quantile(values, 0.1) - 0.1), min(1.0, values.max() + 0.02))
        axes.yaxis.set_major_locator(MaxNLocator(ticks))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def _end_labels(axes, curves, looks):
    """Names to the right of the axes, moved apart, with a hairline to the end of their line."""
    transform = axes.transData + axes.transAxes.inverted()
    ends = {label: _last_point(curve) for label, curve in curves.items()}
    wanted = [min(1.0, max(0.0, transform.transform(end)[1])) for end in ends.values()]
    places = spread_out(wanted, gap=0.055)
    for (label, end), place in zip(ends.items(), places, strict=True):
        low, high = axes.get_ylim()
        axes.annotate(
            label,
            xy=(end[0], min(max(end[1], low), high)),
            xytext=(1.06, place),
            textcoords="axes fraction",
            va="center",
            color=INK,
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color=looks[label].color, linewidth=0.8, shrinkA=1, shrinkB=1),
        )


def _last_point(curve):
    last = np.flatnonzero(np.isfinite(curve.median))[-1]
    return curve.x[last], curve.median[last]
