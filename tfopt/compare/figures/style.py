"""Colours, line styles and SVG: every line differs from every other in colour, dashes or marker."""

import dataclasses
import io
import itertools
import re

import matplotlib
from matplotlib.figure import Figure

from tfopt.analysis._figure import DASHES, MARKERS

# What is drawn in these colours takes the page's own, which know light and dark. No figure may use them
# otherwise.
INK = "#010101"
FAINT = "#020202"
GRID = "#030303"
_SERIES = tuple(f"#0a0a{number:02x}" for number in range(6))
CSS = {INK: "currentColor", FAINT: "var(--faint)", GRID: "var(--grid)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(_SERIES)
}

RC = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.which": "major",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "legend.fontsize": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "tfopt",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.major.pad": 5,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": INK,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


@dataclasses.dataclass(frozen=True)
class Style:
    """How one optimizer's lines look."""

    color: str
    dashes: object
    marker: str


def styles(labels):
    """A different style for each label: no two share colour and dashes while these last, nor markers."""
    looks = itertools.cycle((color, dashes) for dashes in DASHES for color in _SERIES)
    rows = zip(labels, looks, itertools.cycle(MARKERS), strict=False)
    return {label: Style(color, dashes, marker) for label, (color, dashes), marker in rows}


def draw(name, size, plot):
    """Draw one figure and return it as SVG to be put into a page.

    Args:
        name: Unique within the page; keeps the ids of figures apart.
        size: Width and height in inches.
        plot: Function of the figure's axes.

    Returns:
        SVG element as text, without a fixed size, hidden from screen readers: the page describes it.
    """
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=size, layout="constrained")
        plot(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(
            text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _embed(text.getvalue(), name)


def _embed(svg, name):
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| version="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    head, body = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    body = _short_ids(body, name)
    for color, css in CSS.items():
        body = body.replace(color, css)
    return f'{head} aria-hidden="true" focusable="false">{body}'


def _short_ids(body, name):
    """Drop ids that nothing refers to, and make the others unique within the page."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))

    def rename(match):
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([^"]*)"', rename, body)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
