"""Checks that the spectral tools share."""

import numpy as np

from tfopt._check import require, require_integer


def require_operator(owner, operator):
    """Require a square real matrix or operator."""
    shape: tuple = getattr(operator, "shape", ())
    dtype = getattr(operator, "dtype", None)
    square = len(shape) == 2 and shape[0] == shape[1] and shape[0] > 0
    real = dtype is not None and np.dtype(dtype).kind == "f"
    expected = "a square operator or array of real floats, such as hessian_operator returns"
    require(
        square and real and hasattr(operator, "__matmul__"), owner, "operator", _named(operator), expected
    )


def steps_within(owner, operator, steps, default):
    """Number of Lanczos steps: the default where none is given, never more than the operator has rows."""
    if steps is not None:
        require_integer(owner, 1, steps=steps)
    return min(steps or default, operator.shape[0])


def _named(operator):
    return f"{type(operator).__name__} of shape {getattr(operator, 'shape', None)}"
