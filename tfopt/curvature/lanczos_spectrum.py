"""lanczos_spectrum: eigenvalues of an operator from its products."""

from typing import NamedTuple

import numpy as np

from tfopt._check import require_integer
from tfopt.curvature import _check
from tfopt.curvature._lanczos import tridiagonalize


class Spectrum(NamedTuple):
    """What some Lanczos steps know about the eigenvalues of a symmetric operator.

    Attributes:
        values: Ritz values θᵢ, ascending. All lie between the smallest and the largest eigenvalue.
        weights: Share of the random start along each; Σ weightᵢ f(θᵢ) estimates the mean of f over the
            eigenvalues. They sum to 1.
        residuals: Within this distance of each Ritz value there is an eigenvalue, to rounding.
        size: n, the number of eigenvalues there are.
    """

    values: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray
    size: int

    @property
    def smallest(self):
        """The smallest Ritz value: the smallest eigenvalue is no larger."""
        return float(self.values[0])

    @property
    def largest(self):
        """The largest Ritz value: the largest eigenvalue is no smaller."""
        return float(self.values[-1])

    @property
    def smallest_residual(self):
        """Within this distance of `smallest` there is an eigenvalue."""
        return float(self.residuals[0])

    @property
    def largest_residual(self):
        """Within this distance of `largest` there is an eigenvalue."""
        return float(self.residuals[-1])

    @property
    def is_complete(self):
        """Whether the Ritz values are all the eigenvalues, multiple ones as often as they are there."""
        return len(self.values) == self.size


def lanczos_spectrum(operator, steps=None, seed=0):
    """Ritz values of an operator: its extreme eigenvalues, and a sample of the rest.

    k steps of Lanczos from a random unit vector q₁ give a tridiagonal matrix T = QᵀAQ. With T yᵢ = θᵢ yᵢ::

        values θᵢ,   weights (e₁ᵀyᵢ)²,   residuals |β_k e_kᵀyᵢ| = ‖A Qyᵢ − θᵢ Qyᵢ‖

    The extreme eigenvalues converge first, the faster the further they stand from the others. With
    reorthogonalisation against all vectors, twice, in float64, there are no spurious copies; k = n gives
    every eigenvalue. Takes k products, k·n numbers of 8 bytes and k²·n operations.

    Args:
        operator: Symmetric: what `hessian_operator` or `gauss_newton_operator` return, an array, or anything
            with ``shape``, ``dtype`` and ``@``.
        steps: k >= 1; None takes 64; never more than n.
        seed: Seed of the start, >= 0.

    Returns:
        A `Spectrum`, with ``values``, ``weights``, ``residuals``, ``smallest``, ``largest``,
        ``smallest_residual``, ``largest_residual`` and ``is_complete``, in the units of the operator.

    Raises:
        ValueError: If an argument lies outside its range, or a product is not finite.

    Example:
        >>> import numpy as np, tfopt
        >>> spectrum = tfopt.curvature.lanczos_spectrum(np.diag([1.0, 2.0, 2.0, 10.0]))
        >>> spectrum.values.round(6).tolist(), spectrum.is_complete
        ([1.0, 2.0, 2.0, 10.0], True)

    Source: Lanczos, An Iteration Method for the Solution of the Eigenvalue Problem, 1950; Parlett, The
    Symmetric Eigenvalue Problem, 1980, sections 6.9 and 13.
    """
    _check.require_operator("lanczos_spectrum", operator)
    require_integer("lanczos_spectrum", 0, seed=seed)
    steps = _check.steps_within("lanczos_spectrum", operator, steps, 64)
    return spectrum_of(operator, steps, np.random.default_rng(seed))


def spectrum_of(operator, steps, rng):
    """The `Spectrum` after `steps` from a start that `rng` draws."""
    found = tridiagonalize(operator, steps, rng)
    matrix = np.diag(found.diagonal) + np.diag(found.off_diagonal, 1) + np.diag(found.off_diagonal, -1)
    values, vectors = np.linalg.eigh(matrix)
    return Spectrum(values, vectors[0] ** 2, np.abs(found.last * vectors[-1]), operator.shape[0])
