"""Line searches by name."""

from tfopt._check import require
from tfopt.line_search._search import LineSearch
from tfopt.line_search.backtracking import Backtracking
from tfopt.line_search.exact import Exact
from tfopt.line_search.fixed import Fixed
from tfopt.line_search.strong_wolfe import StrongWolfe

# What every direction method knows at a trial.
KNOWN = frozenset({"value", "slope"})
NAMES = {"fixed": Fixed, "backtracking": Backtracking, "strong_wolfe": StrongWolfe, "exact": Exact}


def line_search_of(owner, given, **defaults):
    """The search that an argument `line_search` means; `defaults` are for `StrongWolfe` given by name."""
    if isinstance(given, LineSearch):
        known = ", ".join(sorted(KNOWN))
        require(given.needs <= KNOWN, owner, "line_search", given, f"one that needs no more than {known}")
        return given
    expected = f"a search of tfopt.line_search, or one of {', '.join(map(repr, NAMES))}"
    require(isinstance(given, str) and given in NAMES, owner, "line_search", given, expected)
    return NAMES[given](**(defaults if given == "strong_wolfe" else {}))
