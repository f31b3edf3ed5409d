"""Line searches: how far to go along a direction; one search serves every direction method.

A search is a pure state machine over scalars. A driver evaluates the loss and its slope at the step asked for
and hands them over; the search answers with the next step or with its verdict. It never calls the function
itself, so that it runs inside a Keras train step, one evaluation at a time, as well as in a loop.
"""

from tfopt.line_search.backtracking import Backtracking
from tfopt.line_search.exact import Exact
from tfopt.line_search.fixed import Fixed
from tfopt.line_search.strong_wolfe import StrongWolfe

__all__ = ["Backtracking", "Exact", "Fixed", "StrongWolfe"]
