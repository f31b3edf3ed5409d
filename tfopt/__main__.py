"""The command `tfopt`, also `python -m tfopt`."""

import importlib
import os
import sys

# Subcommand: module with `main(arguments)`, and one line of help. Imported only when asked for.
COMMANDS = {
    "compare": ("tfopt.compare.cli", "train one model with many optimizers under equal budgets"),
    "diagnose": ("tfopt.diagnose.cli", "say why a saved model does not train, and what to try"),
    "kernels": ("tfopt.kernels.cli", "tell which updates run as fused kernels here, and why not where not"),
    "serve": ("tfopt.distribute.cli", "run a worker or parameter server for asynchronous training"),
}


def main(arguments=None):
    """Run a subcommand of `tfopt`.

    Args:
        arguments: List of command-line arguments, without the program's name; default those of the process.

    Returns:
        Exit code of the subcommand; 2 if there is no such one; 141 if nobody reads its output any more.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left to print goes nowhere, at the end of the process too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _run(arguments):
    name = arguments[0] if arguments else None
    if name in COMMANDS:
        return importlib.import_module(COMMANDS[name][0]).main(arguments[1:])
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        from tfopt.version import VERSION

        print(f"tfopt {VERSION}")
        return 0
    wrong = "a subcommand is missing" if name is None else f"there is no subcommand {name!r}"
    print(f"tfopt: error: {wrong}; there is: {', '.join(COMMANDS)}.", file=sys.stderr)
    return 2


def usage():
    """The help text of `tfopt` itself."""
    rows = "\n".join(f"  {name:10s} {text}" for name, (_, text) in COMMANDS.items())
    return f"usage: tfopt SUBCOMMAND ...\n\n{rows}\n\n`tfopt SUBCOMMAND --help` says more."


if __name__ == "__main__":
    sys.exit(main())
