"""The Lanczos recursion, in float64 and fully reorthogonalised."""

from typing import NamedTuple

import numpy as np


class Tridiagonal(NamedTuple):
    """An operator projected on the space of its Lanczos vectors.

    Attributes:
        diagonal: αᵢ, k of them.
        off_diagonal: βᵢ, k − 1 of them; zero where a subspace was exhausted and the next one begun.
        last: β_k, the length of what the projection leaves out; 0 once the whole space is taken.
    """

    diagonal: np.ndarray
    off_diagonal: np.ndarray
    last: float


def tridiagonalize(operator, steps, rng):
    """Run `steps` products from a random start; where the Krylov space is exhausted, go on outside it.

        r = A q_k − α_k q_k − β_{k−1} q_{k−1},   β_k = ‖r‖,   q_{k+1} = r / β_k

    Each new vector is made orthogonal to all before it, twice, so the q stay orthonormal to rounding and
    no eigenvalue appears more often than it is there. Keeps k vectors of n float64 numbers.
    """
    size = operator.shape[0]
    basis = np.zeros((steps, size))
    diagonal, off_diagonal = np.zeros(steps), np.zeros(steps)
    # What a product in the operator's own precision cannot tell from zero.
    rounding = 10 * np.finfo(operator.dtype).eps
    scale = 0.0
    for k in range(steps):
        if k == 0 or off_diagonal[k - 1] == 0:
            basis[k] = _unit(_orthogonal(rng.normal(size=size), basis[:k]))
        product = _product(operator, basis[k])
        diagonal[k] = basis[k] @ product
        rest = _orthogonal(product, basis[: k + 1])
        length = np.linalg.norm(rest)
        scale = max(scale, abs(diagonal[k]), length)
        if k + 1 == size or length <= rounding * scale:
            continue
        off_diagonal[k] = length
        if k + 1 < steps:
            basis[k + 1] = _unit(rest)
    return Tridiagonal(diagonal, off_diagonal[:-1], float(off_diagonal[-1]))


def _product(operator, vector):
    product = np.asarray(operator @ vector.astype(operator.dtype), float)
    if not np.isfinite(product).all():
        raise ValueError("operator: expected finite products with it, got NaN or infinity.")
    return product


def _orthogonal(vector, basis):
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    return vector


def _unit(vector):
    return vector / np.linalg.norm(vector)
