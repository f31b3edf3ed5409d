"""Trajectories on the two surfaces."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from tfopt.analysis._figure import contours
from tfopt.compare.figures.style import FAINT, INK, draw


def path_panel(name, surface, trajectory, look):
    """The path of one optimizer on the contour lines of one surface.

    Args:
        name: Unique name of the figure.
        surface: `Surface`.
        trajectory: `Trajectory` on it.
        look: `Style` of the optimizer.

    Returns:
        SVG.
    """
    x, y = np.transpose(trajectory.path)

    def plot(axes):
        axes.grid(visible=False)
        _contours(axes, surface)
        axes.plot(x, y, color=look.color, linewidth=1.5)
        axes.plot(x[::10], y[::10], color=look.color, linestyle="none", marker="o", markersize=2.6)
        axes.plot(*surface.start, color=INK, marker="s", markersize=4, linestyle="none")
        for minimum in surface.minima:
            axes.plot(*minimum, color=INK, marker="*", markersize=7, linestyle="none")
        if surface.saddle is not None:
            axes.plot(*surface.saddle, color=INK, marker="x", markersize=5, linestyle="none")
        axes.set(xlim=surface.window[:2], ylim=surface.window[2:], xlabel="x", ylabel="y")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(4))

    return draw(name, (2.7, 2.2), plot)


def _contours(axes, surface):
    x, y, heights, levels = contours(surface)
    axes.contour(x, y, heights, levels=levels, colors=FAINT, linewidths=0.6)
