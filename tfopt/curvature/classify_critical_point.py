"""classify_critical_point: minimum, maximum, saddle, or no critical point at all."""

import enum
from typing import NamedTuple

import numpy as np

from tfopt._check import require, require_integer, require_not_negative
from tfopt.curvature import _check
from tfopt.curvature.lanczos_spectrum import spectrum_of


class Kind(enum.Enum):
    """What kind of point it is, with a sentence each."""

    NOT_CRITICAL = "The gradient is not zero: no critical point of any kind."
    MINIMUM = "All curvatures are positive: a local minimum."
    MAXIMUM = "All curvatures are negative: a local maximum."
    SADDLE = "Some curvatures are positive and some negative: a saddle point."
    FLAT = "Some curvatures vanish and the others do not differ in sign: derivatives of higher order decide."


class CriticalPoint(NamedTuple):
    """The kind of a point and what it was judged by.

    Attributes:
        kind: `Kind`; its value is a sentence.
        gradient_norm: Largest absolute component of the gradient.
        smallest: Smallest curvature found.
        largest: Largest curvature found.
        negative: Number of negative curvatures, at a saddle its index: exact if `exact`, else an estimate.
        vanishing: Number of curvatures within the tolerance of zero: exact if `exact`, else an estimate.
        exact: Whether every eigenvalue of the Hessian was computed.
        certain: Whether the kind is beyond doubt: all eigenvalues are known, or it is a saddle, shown by one
            direction of each sign. Else it rests on no direction of another sign having turned up.
        sentence: All this in words.
    """

    kind: Kind
    gradient_norm: float
    smallest: float
    largest: float
    negative: int
    vanishing: int
    exact: bool
    certain: bool
    sentence: str


def classify_critical_point(
    operator, gradient=None, tol=1e-5, curvature_tol=None, steps=None, probes=4, seed=0
):
    """Tell a minimum from a saddle, a maximum and a flat point by the signs of the Hessian's eigenvalues.

    A point is critical where every |∂J/∂θᵢ| ≤ `tol`. There, with curvatures counted as zero up to
    `curvature_tol`: all above is a minimum, all below a maximum, both kinds a saddle, whose index is the
    number below. Where some vanish and the others agree in sign the second derivatives leave it open: x² + y⁴
    has a minimum at 0, x² + y³ has none. Trained networks mostly end there, as symmetric and idle units
    leave directions without curvature; the sentence then says whether any direction leads down to second
    order.

    Up to `steps` parameters all eigenvalues are computed. Beyond that extremes come from Lanczos steps and
    counts from the weights of the Ritz values of `probes` random starts, with a standard error of about
    √(2p(1 − p)n/probes) for a share p.

    Args:
        operator: The Hessian at the point, as for `lanczos_spectrum`.
        gradient: The gradient there, a vector; None asks ``operator.gradient()``.
        tol: Largest absolute component of a gradient that counts as zero, >= 0.
        curvature_tol: Largest |λ| that counts as zero, >= 0. None takes the larger of `tol`, as such a
            curvature changes the gradient by less than that within a unit step, and 1e-4 of the
            largest |λ|.
        steps: Lanczos steps per start, >= 1; None takes 64; never more than n.
        probes: Number of random starts, >= 1.
        seed: Seed of the starts, >= 0.

    Returns:
        A `CriticalPoint`, with ``kind``, ``gradient_norm``, ``smallest``, ``largest``, ``negative``,
        ``vanishing``, ``exact``, ``certain`` and ``sentence``.

    Raises:
        ValueError: If an argument lies outside its range, or a product or the gradient is not finite.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> H = tfopt.curvature.hessian_operator(lambda x: x[0] ** 2 - x[1] ** 2, tf.zeros(2))
        >>> point = tfopt.curvature.classify_critical_point(H)
        >>> point.kind.name, point.negative, point.certain
        ('SADDLE', 1, True)

    Source: chapter sections 2.2 and 2.3.
    """
    owner = "classify_critical_point"
    _check.require_operator(owner, operator)
    require_integer(owner, 0, seed=seed)
    require_not_negative(owner, tol=tol)
    require_integer(owner, 1, probes=probes)
    if curvature_tol is not None:
        require_not_negative(owner, curvature_tol=curvature_tol)
    steps = _check.steps_within(owner, operator, steps, 64)
    slope = _largest(owner, operator, gradient)
    spectra = _spectra(operator, steps, probes, seed)
    zero = _zero(spectra, tol) if curvature_tol is None else curvature_tol
    return _judged(spectra, slope, slope <= tol, zero)


def _largest(owner, operator, gradient):
    """The largest component of the gradient."""
    if gradient is None:
        require(hasattr(operator, "gradient"), owner, "gradient", None, "a vector, as the operator has none")
        gradient = operator.gradient()
    gradient = np.asarray(gradient, float)
    good = gradient.shape == operator.shape[:1] and np.isfinite(gradient).all()
    expected = f"{operator.shape[0]} finite numbers"
    require(good, owner, "gradient", gradient.shape, expected)
    return float(np.abs(gradient).max())


def _spectra(operator, steps, probes, seed):
    """One complete spectrum where steps suffice for it, else one of each probe."""
    rng = np.random.default_rng(seed)
    count = 1 if steps == operator.shape[0] else probes
    return [spectrum_of(operator, steps, rng) for _ in range(count)]


def _zero(spectra, tol):
    return max(tol, 1e-4 * max(np.abs(spectrum.values).max() for spectrum in spectra))


def _judged(spectra, slope, critical, zero):
    size, exact = spectra[0].size, spectra[0].is_complete
    smallest = min(spectrum.smallest for spectrum in spectra)
    largest = max(spectrum.largest for spectrum in spectra)
    kind = _kind(smallest, largest, zero) if critical else Kind.NOT_CRITICAL
    negative = max(_count(spectra, lambda values: values < -zero), int(smallest < -zero))
    vanishing = _count(spectra, lambda values: np.abs(values) <= zero)
    about = "" if exact else "about "
    sentence = (
        f"{kind.value} Curvatures from {smallest:.3g} to {largest:.3g}; of {size} {about}{negative} are "
        f"negative and {about}{vanishing} within {zero:.3g} of zero.{_outlook(kind, smallest, largest, zero)}"
    )
    return CriticalPoint(
        kind=kind,
        gradient_norm=slope,
        smallest=smallest,
        largest=largest,
        negative=negative,
        vanishing=vanishing,
        exact=exact,
        # Ritz values are curvatures along some direction, so the two that make a saddle are there.
        certain=exact or kind in (Kind.NOT_CRITICAL, Kind.SADDLE),
        sentence=sentence,
    )


def _kind(smallest, largest, zero):
    if smallest < -zero and largest > zero:
        return Kind.SADDLE
    if smallest > zero:
        return Kind.MINIMUM
    return Kind.MAXIMUM if largest < -zero else Kind.FLAT


def _count(spectra, holds):
    """Number of eigenvalues for which `holds`: counted if all are known, else from the weights."""
    first = spectra[0]
    if first.is_complete:
        return int(holds(first.values).sum())
    share = np.mean([spectrum.weights[holds(spectrum.values)].sum() for spectrum in spectra])
    return round(share * first.size)


def _outlook(kind, smallest, largest, zero):
    """For a flat point, what the second derivatives do say."""
    if kind is not Kind.FLAT:
        return ""
    if largest > zero:
        return " To second order no direction leads down."
    return " To second order no direction leads up." if smallest < -zero else " No direction is curved."
