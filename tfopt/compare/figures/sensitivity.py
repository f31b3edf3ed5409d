"""How much the learning rate matters."""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tfopt.compare.figures.style import FAINT, INK, draw, styles


def sensitivity_panel(name, label, trials, rate):
    """Validation accuracy after the trial of each rate, one optimizer before all the others.

    Args:
        name: Unique name of the figure.
        label: The optimizer.
        trials: Dictionary from optimizer to the `Run`s of its trials.
        rate: The `Rate` chosen.

    Returns:
        SVG.
    """
    look = styles(trials)[label]

    def plot(axes):
        for other, runs in trials.items():
            if other != label and runs:
                axes.plot(*_points(runs), color=FAINT, linewidth=0.7)
        rates, accuracies = _points(trials[label])
        axes.axvline(rate.value, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.plot(rates, accuracies, color=look.color, linewidth=1.6, marker=look.marker, markersize=3.5)
        _scales(axes)

    return draw(name, (2.7, 1.9), plot)


def _points(runs):
    """Rates and accuracies; a trial that diverged is a gap."""
    ordered = sorted(runs, key=lambda run: run.task.learning_rate)
    accuracies = [np.nan if run.diverged else run.last.validation_accuracy for run in ordered]
    return [run.task.learning_rate for run in ordered], accuracies


def _scales(axes):
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("learning rate")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
