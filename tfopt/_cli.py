"""What the command lines of `tfopt` share."""

import argparse
import sys

# Columns that the tables need.
NARROWEST = 120


class OneLineParser(argparse.ArgumentParser):
    """Parser of a subcommand, whose texts are shown as they are written and whose errors are one line.

    Args:
        subcommand: Its name.
        description: What it does.
        epilog: What stands below its options.
    """

    def __init__(self, subcommand, description, epilog):
        super().__init__(
            prog=f"tfopt {subcommand}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message):
        """Exit with code 2 after one line on stderr, without the usage before it."""
        self.exit(2, f"{self.prog}: {message}; --help says more.\n")


def wrong(error):
    """Say in one line what a ValueError says; returns the exit code."""
    print(f"tfopt {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def interrupted(subcommand, sentence):
    """Say what has become of what was begun; returns the exit code."""
    print(f"tfopt {subcommand}: interrupted; {sentence}", file=sys.stderr)
    return 130


def show(table):
    """Print a rich table, as wide as the terminal but not too narrow to be read."""
    from rich.console import Console

    console = Console()
    console.width = max(console.width, NARROWEST)
    console.print(table)
