"""`python benchmarks` measures the installed tfopt, `python -m benchmarks` the one in the current folder."""

import importlib
import pathlib
import sys

# Last on the path, behind the installed packages.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
importlib.import_module("benchmarks._cli").main()
