"""What one diagnostic has to show."""

from collections.abc import Callable
from typing import NamedTuple


class Picture(NamedTuple):
    """A line chart: norms, eigenvalues.

    Attributes:
        title: Caption.
        alt: What it shows, in words.
        labels: What stands at the points, or None for their numbers.
        values: Heights of the points.
        axes: Names of the two axes.
        scale: Scale of the heights, "log" or "symlog".
    """

    title: str
    alt: str
    labels: list | None
    values: list
    axes: tuple
    scale: str = "log"


class Section(NamedTuple):
    """One diagnostic.

    Attributes:
        title: Heading.
        facts: (name, text) of what was measured.
        findings: A list of `Finding`.
        pictures: A list of `Picture`.
        skipped: Why it could not be made, or the empty string.
    """

    title: str
    facts: tuple = ()
    findings: tuple = ()
    pictures: tuple = ()
    skipped: str = ""


class Check(NamedTuple):
    """A diagnostic by name: `run` takes a `Subject` and returns a `Section`."""

    title: str
    run: Callable
