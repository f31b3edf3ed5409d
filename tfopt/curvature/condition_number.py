"""condition_number: how far an operator's curvatures differ in size."""

import math
from typing import NamedTuple

import numpy as np

from tfopt._check import require_integer
from tfopt.curvature import _check
from tfopt.curvature.lanczos_spectrum import lanczos_spectrum


class ConditionNumber(NamedTuple):
    """A condition number and what it was made of.

    Attributes:
        value: largest / smallest; infinite where the smallest cannot be told from 0.
        largest: Largest |θ| of the Ritz values.
        smallest: Smallest |θ|.
        bound: The same ratio with both moved by their residuals the worse way; infinite where the smallest
            may be 0.
    """

    value: float
    largest: float
    smallest: float
    bound: float


def condition_number(operator, steps=None, seed=0):
    """The condition number of a symmetric operator, κ = max|λ| / min|λ|, from Lanczos steps.

    For a definite operator both ends are extremes of the spectrum: `value` never exceeds the true κ beyond
    rounding and approaches it as steps are added. For an indefinite one min|λ| lies inside the spectrum,
    where Ritz values settle late; `bound` shows by how much. With steps = n both are exact. Hessians of
    networks are as a rule singular, κ infinite: units that do nothing and symmetries cost rank.

    Args:
        operator: As for `lanczos_spectrum`.
        steps: Lanczos steps; None takes 64; never more than n.
        seed: Seed of the start, >= 0.

    Returns:
        A `ConditionNumber`, with ``value``, ``largest``, ``smallest`` and ``bound``.

    Raises:
        ValueError: If an argument lies outside its range, or a product is not finite.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> H = tfopt.curvature.hessian_operator(lambda x: x[0] ** 2 + 50 * x[1] ** 2, tf.zeros(2))
        >>> round(tfopt.curvature.condition_number(H).value, 3)
        50.0

    Source: chapter section 2.1.
    """
    _check.require_operator("condition_number", operator)
    require_integer("condition_number", 0, seed=seed)
    steps = _check.steps_within("condition_number", operator, steps, 64)
    spectrum = lanczos_spectrum(operator, steps, seed)
    sizes = np.abs(spectrum.values)
    far, near = int(np.argmax(sizes)), int(np.argmin(sizes))
    # A product rounds every curvature to this.
    zero = 10 * np.finfo(operator.dtype).eps * sizes[far]
    surely = sizes[near] - spectrum.residuals[near]
    return ConditionNumber(
        value=_ratio(sizes[far], sizes[near], zero),
        largest=float(sizes[far]),
        smallest=float(sizes[near]),
        bound=_ratio(sizes[far] + spectrum.residuals[far], surely, zero),
    )


def _ratio(largest, smallest, zero):
    return float(largest / smallest) if smallest > zero else math.inf
