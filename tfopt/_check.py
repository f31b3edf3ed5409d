"""Argument checks: one sentence says which argument, what is allowed, what came."""

import math
import numbers


def require(condition, owner, argument, value, expected):
    """Raise ``ValueError: owner(argument=value): expected ….`` unless `condition` holds.

    Args:
        condition: Truth of the requirement.
        owner: Name of the class or function whose argument is checked.
        argument: Name of the argument.
        value: What the caller passed.
        expected: What is allowed, as the end of the sentence "expected …".
    """
    if not condition:
        raise ValueError(f"{owner}({argument}={value!r}): expected {expected}.")


def is_number(value):
    """True for a finite real number that is not a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def is_integer(value):
    """True for an integer of Python or NumPy that is not a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def require_positive(owner, **arguments):
    """Require each keyword argument to be a finite number above 0."""
    for name, value in arguments.items():
        require(is_number(value) and value > 0, owner, name, value, f"a finite number with {name} > 0")


def require_not_negative(owner, **arguments):
    """Require each keyword argument to be a finite number of at least 0."""
    for name, value in arguments.items():
        require(is_number(value) and value >= 0, owner, name, value, f"a finite number with {name} >= 0")


def require_fraction(owner, **arguments):
    """Require each keyword argument to lie in [0, 1)."""
    for name, value in arguments.items():
        require(is_number(value) and 0 <= value < 1, owner, name, value, f"0 <= {name} < 1")


def require_choice(owner, choices, **arguments):
    """Require each keyword argument to be one of `choices`."""
    for name, value in arguments.items():
        require(value in choices, owner, name, value, f"one of {', '.join(map(repr, choices))}")


def require_integer(owner, minimum, **arguments):
    """Require each keyword argument to be an integer of at least `minimum`."""
    for name, value in arguments.items():
        good = is_integer(value) and value >= minimum
        require(good, owner, name, value, f"an integer with {name} >= {minimum}")


def require_flags(owner, **arguments):
    """Require each keyword argument to be True or False."""
    for name, value in arguments.items():
        require(isinstance(value, bool), owner, name, value, "True or False")
