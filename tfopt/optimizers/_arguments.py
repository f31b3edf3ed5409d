"""The options that every optimizer takes, and what is refused of them."""

import re
from collections.abc import Mapping

from tfopt._check import is_number, require, require_integer, require_not_negative, require_positive

KERAS_OPTIONS = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)
OWN_OPTIONS = ("learning_rate_multipliers", "weight_decay_exclude", "skip_nonfinite", "fused")
OPTIONS = KERAS_OPTIONS + OWN_OPTIONS


def check_options(owner, learning_rate, multipliers, exclude, keras_options):
    """Refuse what no optimizer takes."""
    for option, value in keras_options.items():
        require(option in KERAS_OPTIONS, owner, option, value, f"one of the options {', '.join(OPTIONS)}")
    for option in ("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"):
        if keras_options.get(option) is not None:
            require_positive(owner, **{option: keras_options[option]})
    if keras_options.get("weight_decay") is not None:
        require_not_negative(owner, weight_decay=keras_options["weight_decay"])
    if keras_options.get("gradient_accumulation_steps"):
        # Keras lets a float through, at which the first train step fails.
        require_integer(owner, 2, gradient_accumulation_steps=keras_options["gradient_accumulation_steps"])
    if not callable(learning_rate):
        good = is_number(learning_rate) and learning_rate > 0
        expected = "a finite number with learning_rate > 0, a schedule or a callable"
        require(good, owner, "learning_rate", learning_rate, expected)
    _check_patterns(owner, {} if multipliers is None else multipliers, () if exclude is None else exclude)


def _check_patterns(owner, multipliers, exclude):
    good = isinstance(multipliers, Mapping)
    expected = "a dict from regular expression on variable paths to factor"
    require(good, owner, "learning_rate_multipliers", multipliers, expected)
    for pattern, factor in multipliers.items():
        good = is_number(factor) and factor >= 0
        require(
            good, owner, "learning_rate_multipliers", {pattern: factor}, "factors that are finite and >= 0"
        )
    good = isinstance(exclude, (list, tuple))
    require(good, owner, "weight_decay_exclude", exclude, "a list of regular expressions on variable paths")
    for pattern in (*multipliers, *exclude):
        _check_pattern(owner, pattern)


def check_search_options(owner, multipliers, skip_nonfinite, keras_options):
    """Refuse what would change the function, or the gradient alone, between the points of a line search."""
    given = {"learning_rate_multipliers": multipliers} | keras_options
    for option in (
        "learning_rate_multipliers",
        "weight_decay",
        "clipnorm",
        "clipvalue",
        "global_clipnorm",
        "use_ema",
    ):
        expected = (
            "None; a line search compares values of one function, so put a penalty into the loss instead"
        )
        require(not given.get(option), owner, option, given.get(option), expected)
    expected = "False; a method with a line search by itself never stays where there is a NaN or Inf"
    require(not skip_nonfinite, owner, "skip_nonfinite", skip_nonfinite, expected)


def _check_pattern(owner, pattern):
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"{owner}: expected regular expressions on variable paths, got {pattern!r} ({error})."
        ) from None
