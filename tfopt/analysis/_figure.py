"""Figures of the diagnostics, drawn with matplotlib when they are asked for."""

import numpy as np

# Lines that can be told apart without colours.
DASHES = ("-", (0, (5, 1.6)), (0, (1.5, 1.3)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p", "d")


def contours(surface, count=61, levels=12):
    """What contour lines of a surface are drawn from.

    Args:
        surface: `Surface`.
        count: Points of the grid along each axis.
        levels: Number of lines.

    Returns:
        (x, y, heights above the minimum, the lines' heights), closer together where the surface is flatter.
    """
    left, right, bottom, top = surface.window
    x, y = np.meshgrid(np.linspace(left, right, count), np.linspace(bottom, top, count))
    heights = surface.values(x, y) - surface.values(*np.array(surface.minima[0]))
    return x, y, heights, np.quantile(heights, np.linspace(0.02, 0.95, levels))
