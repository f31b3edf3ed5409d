"""Which axes of a kernel lead into one unit."""

import math

from tfopt._check import require


def axes_into_a_unit(owner, shape, input_axes):
    """Sorted axes, counted from 0, along which the weights of one unit lie.

    Args:
        owner: Name of the initializer, for messages.
        shape: Shape of the kernel.
        input_axes: What the user said, or None for all axes but the last.
    """
    rank = len(shape)
    if input_axes is None:
        return tuple(range(rank - 1)) if rank > 1 else tuple(range(rank))
    expected = f"different axes of a kernel of shape {tuple(shape)}"
    require(all(-rank <= axis < rank for axis in input_axes), owner, "input_axes", input_axes, expected)
    axes = {axis % rank for axis in input_axes}
    require(len(axes) == len(input_axes), owner, "input_axes", input_axes, expected)
    return tuple(sorted(axes))


def fan_in(owner, shape, input_axes):
    """m, the number of weights that lead into one unit."""
    return math.prod(shape[axis] for axis in axes_into_a_unit(owner, shape, input_axes))


def as_axes(owner, input_axes):
    """What a user passes as `input_axes`, as a tuple of integers or None."""
    if input_axes is None:
        return None
    axes = input_axes if isinstance(input_axes, (list, tuple)) else (input_axes,)
    integers = bool(axes) and all(isinstance(axis, int) and not isinstance(axis, bool) for axis in axes)
    require(integers, owner, "input_axes", input_axes, "None, an axis or a sequence of axes")
    return tuple(axes)
