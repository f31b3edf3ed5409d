"""`tfopt serve`: the command line."""

import argparse
import sys

from tfopt.distribute.serve import serve

DESCRIPTION = """\
Run this process as the worker or parameter server that TF_CONFIG says it is, until it is stopped.

TF_CONFIG is a JSON object, for example
  {"cluster": {"worker": ["a:2222", "b:2222"], "ps": ["c:2222"]}, "task": {"type": "worker", "index": 0}}
The coordinator is the program that holds tfopt.distribute.AsynchronousTrainer.

Exit code: 2 wrong TF_CONFIG or a port in use; 130 interrupted."""


def main(arguments=None):
    """Run `tfopt serve`; returns the exit code, if ever."""
    parser = argparse.ArgumentParser(
        "tfopt serve", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    try:
        serve()
    except (ValueError, OSError) as error:
        print(f"tfopt serve: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
