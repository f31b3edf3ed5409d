"""The findings on the terminal."""

from rich import box
from rich.table import Table
from rich.text import Text


def findings_table(diagnosis):
    """The findings as a rich table.

    Args:
        diagnosis: `Diagnosis`.

    Returns:
        `rich.table.Table`.
    """
    count = len(diagnosis.findings)
    skipped = [section.title for section in diagnosis.sections if section.skipped]
    table = Table(
        title=f"{diagnosis.name}: {count} finding{'' if count == 1 else 's'}",
        caption=f"Not looked at: {', '.join(skipped)}." if skipped else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("Finding", "Measured", "What to try"):
        table.add_column(heading)
    for finding in diagnosis.findings:
        table.add_row(*map(Text, (finding.name, finding.sentence, finding.advice)))
    return table
