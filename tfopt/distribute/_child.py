"""A process of a LocalCluster: serves until its standard input ends."""

import os
import sys
import threading

from tfopt.distribute.serve import serve


def end_with_the_parent():
    """Leave at once when nobody holds the other end of the standard input any more."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    serve()
