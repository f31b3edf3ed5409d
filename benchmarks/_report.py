"""Results as JSON, as a table on the screen, and as the tables of README.md."""

import json
import pathlib
import re

from rich.console import Console
from rich.table import Table

from benchmarks._timing import Ratio

HERE = pathlib.Path(__file__).resolve().parent
README = HERE / "README.md"
RESULTS = HERE / "results"
WIDEST = 10_000
MARKED = re.compile(r"(?<=<!-- tables -->\n).*(?=<!-- end of tables -->)", re.DOTALL)


def write(result, folder, name):
    """Write one benchmark's result as ``folder/name.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(result), indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def update_readme(names):
    """Put the tables of the results kept beside it into README.md."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in map(_kept, names) if path.exists()]
    tables = "\n".join(markdown(result) for result in results)
    README.write_text(MARKED.sub(lambda _: f"\n{tables}\n", README.read_text(encoding="utf-8")), "utf-8")


def show(result):
    """Print one benchmark's table."""
    table = Table(title=result["title"], caption=_caption(result))
    for column in result["rows"][0]:
        table.add_column(column, justify="right")
    for row in result["rows"]:
        table.add_row(*map(text, row.values()))
    console = Console()
    if not console.is_terminal:
        # In a file nobody can widen the window.
        console.width = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    console.print(table)


def markdown(result):
    """One benchmark's table in Markdown."""
    columns = list(result["rows"][0])
    lines = [columns, ["---:"] * len(columns), *([text(v) for v in row.values()] for row in result["rows"])]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {result['title']}\n\n{_caption(result)}\n\n{table}\n"


def text(value):
    """A cell: three digits; a ratio as its median with its quartiles."""
    if isinstance(value, dict):
        return text(Ratio(**value))
    if isinstance(value, Ratio):
        return f"{value.median:.2f} ({value.low:.2f}–{value.high:.2f})"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "–" if value is None else str(value)


def _kept(name):
    return RESULTS / f"{name}.json"


def _caption(result):
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    load = " to ".join(map(text, result["load"]))
    return f"{machine}; {result['rounds']} rounds, load average {load}."


def _plain(value):
    if isinstance(value, Ratio):
        return value._asdict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
