"""Progress on the terminal."""

import rich.console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Silent:
    """Reports nothing; also the interface of what a comparison reports to."""

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        return None

    def begin(self, pieces, stored):
        """The comparison has so many pieces, of which so many are stored already."""

    def piece(self, what):
        """A piece begins."""

    def share(self, share):
        """The current piece is done to this share."""

    def done(self):
        """The current piece is done."""

    def say(self, sentence):
        """One line to keep on the terminal."""


class Bars(Silent):
    """Two bars on stderr, all pieces and the current one, and a line per optimizer.

    Where stderr is no terminal only the lines appear.
    """

    def __init__(self):
        self.console = rich.console.Console(stderr=True)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def __enter__(self):
        self.bars.start()
        return self

    def __exit__(self, *failure):
        self.bars.stop()

    def begin(self, pieces, stored):
        """Show the bars."""
        self.all = self.bars.add_task("comparison", total=pieces, completed=stored)
        self.current = self.bars.add_task("", total=100)
        if stored:
            self.say(f"{stored} of {pieces} runs were stored already.")

    def piece(self, what):
        """Name the current run."""
        self.bars.update(self.current, description=what, completed=0)

    def share(self, share):
        """Move the lower bar."""
        self.bars.update(self.current, completed=round(100 * share))

    def done(self):
        """Move the upper bar."""
        self.bars.advance(self.all)

    def say(self, sentence):
        """Print above the bars."""
        self.console.print(sentence, highlight=False, soft_wrap=True, markup=False)
