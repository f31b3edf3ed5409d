"""The page: one HTML file with everything in it."""

import re

import jinja2
import numpy as np
from matplotlib.ticker import MaxNLocator

from tfopt.compare.figures.style import draw, styles


def render_page(diagnosis):
    """The page as text: no script, no external resource, figures inline as SVG.

    Args:
        diagnosis: `Diagnosis`.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        # The style sheet is that of the comparison's page.
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("tfopt.diagnose", "."), jinja2.PackageLoader("tfopt.compare", ".")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    drawings = [
        [_drawn(f"{number}-{index}", picture) for index, picture in enumerate(section.pictures)]
        for number, section in enumerate(diagnosis.sections)
    ]
    return environment.get_template("diagnosis.html").render(diagnosis=diagnosis, drawings=drawings)


def _drawn(name, picture):
    """Our own drawing, the only thing on the page that is not escaped."""
    look = styles([""])[""]

    def plot(axes):
        values = np.asarray(picture.values, float)
        if picture.scale == "log":
            values = np.where(values > 0, values, np.nan)
        axes.plot(values, color=look.color, marker=look.marker, markersize=3.5, linewidth=1.4)
        axes.set(xlabel=picture.axes[0], ylabel=picture.axes[1])
        _scale(axes, picture.scale, values)
        if picture.labels is None:
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        else:
            every = max(1, len(picture.labels) // 24)
            axes.set_xticks(
                np.arange(len(picture.labels))[::every], picture.labels[::every], rotation=40, ha="right"
            )

    svg = draw(f"figure-{re.sub('[^0-9a-z-]', '', name)}", (5.2, 3.0), plot)
    return {"title": picture.title, "alt": picture.alt, "svg": jinja2.utils.markupsafe.Markup(svg)}


def _scale(axes, scale, values):
    """Logarithms, where there is anything to take them of."""
    finite = np.abs(values[np.isfinite(values)])
    if not np.any(finite > 0):
        return
    options = {"linthresh": float(finite.max()) * 1e-4} if scale == "symlog" else {}
    axes.set_yscale(scale, **options)
