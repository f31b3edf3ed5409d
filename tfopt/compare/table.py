"""The leaderboard on the terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from tfopt.compare import wording

# A terminal is narrow.
LEFT_TO_THE_PAGE = ("Best", "Seconds")


def leaderboard_table(comparison):
    """The leaderboard as a rich table, best optimizer first.

    Args:
        comparison: `Comparison`.

    Returns:
        `rich.table.Table`.
    """
    settings = comparison.settings
    columns = [column for column in wording.columns(settings) if column[0] not in LEFT_TO_THE_PAGE]
    target = wording.target(settings)
    table = Table(
        title=f"{settings.model} on {settings.data}, {settings.budget}, {settings.seeds} seeds",
        caption=_caption(comparison, target),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("#", justify="right")
    for heading, _ in columns:
        heading = heading.replace(" ", "\n")
        table.add_column(heading, justify="left" if heading == "Optimizer" else "right", no_wrap=True)
    for place, row in enumerate(comparison.rows, 1):
        cells = [text(row) for _, text in columns]
        cells[0] += "*" if row.note else ""
        table.add_row(str(place), *map(Text, cells))
    return table


def _caption(comparison, target):
    lines = ["Mean ± standard deviation over seeds."] + ([f"Target: {target}."] if target else [])
    lines += [f"* {row.optimizer}: {row.note}." for row in comparison.rows if row.note]
    return Text("\n".join(lines))
