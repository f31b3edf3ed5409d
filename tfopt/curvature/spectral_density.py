"""spectral_density: how the eigenvalues of an operator are distributed."""

from typing import NamedTuple

import numpy as np

from tfopt._check import require_integer, require_positive
from tfopt._figure import panels
from tfopt.curvature import _check
from tfopt.curvature.lanczos_spectrum import spectrum_of


class SpectralDensity(NamedTuple):
    """Estimated density of eigenvalues, integral 1.

    Attributes:
        grid: Eigenvalues at which the density is given, ascending.
        density: Density there: share of all eigenvalues per unit of eigenvalue.
        values: Ritz values of all probes.
        weights: Their weights, which sum to 1.
        width: Standard deviation of the Gaussian that stands for each Ritz value.
        size: n, the number of eigenvalues there are.
    """

    grid: np.ndarray
    density: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    width: float
    size: int

    def moment(self, order):
        """Estimate of the mean of λ^order over the eigenvalues; times `size` at order 1 it is the trace."""
        return float(self.weights @ self.values**order)

    def plot(self):
        """Draw the density on a logarithmic scale, with the extreme Ritz values marked.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show and `savefig` writes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        (axes,) = panels("SpectralDensity", 1, width=7, height=4)
        axes.set(xlabel="eigenvalue λ", ylabel="density", title=f"Spectrum of {self.size} eigenvalues")
        axes.set_yscale("log")
        axes.fill_between(self.grid, self.density, color="tab:blue", alpha=0.3, linewidth=0)
        axes.plot(self.grid, self.density, color="tab:blue", linewidth=1)
        for value, name in ((self.values.min(), "smallest"), (self.values.max(), "largest")):
            axes.axvline(value, color="tab:red", linestyle="--", linewidth=1, label=f"{name}, {value:.3g}")
        axes.axvline(0.0, color="0.5", linewidth=1)
        # Below a hundredth of one eigenvalue at a peak there is nothing but the Gaussians' tails.
        peak = 1.0 / (self.size * self.width * np.sqrt(2 * np.pi))
        axes.set_ylim(0.01 * peak, 2 * max(self.density.max(), peak))
        axes.legend()
        return axes.figure


def spectral_density(operator, probes=8, steps=None, seed=0, width=None, points=1000):
    """Density of an operator's eigenvalues by stochastic Lanczos quadrature.

    Each of the `probes` runs of Lanczos, from independent random starts, gives Ritz values θᵢ with weights
    wᵢ that integrate polynomials up to degree 2k − 1 exactly against that start; together, with
    N(λ; θ, σ²) the normal density::

        φ(λ) = mean over probes of Σᵢ wᵢ N(λ; θᵢ, σ²)

    is an unbiased estimate of the density smoothed by σ, up to the quadrature's error. Its standard error
    for a share p of the eigenvalues is about √(2p(1 − p)/(n·probes)). Takes probes·k products.

    Args:
        operator: As for `lanczos_spectrum`.
        probes: Number of random starts, >= 1.
        steps: k >= 1 steps each; None takes 64; never more than n.
        seed: Seed of the starts, >= 0.
        width: σ > 0 in units of the eigenvalues; None takes 1 % of their range.
        points: Number of points of the grid, >= 2; it reaches 5 σ beyond the Ritz values.

    Returns:
        A `SpectralDensity`, with ``grid``, ``density``, ``values``, ``weights``, ``width``, ``size``,
        ``moment(order)`` and ``plot()``.

    Raises:
        ValueError: If an argument lies outside its range, or a product is not finite.

    Example:
        >>> import numpy as np, tfopt
        >>> density = tfopt.curvature.spectral_density(np.diag([1.0, 1.0, 1.0, 5.0]), probes=200, steps=4)
        >>> round(density.moment(1), 1), round(float(np.trapezoid(density.density, density.grid)), 3)
        (2.0, 1.0)

    Source: Lin, Saad and Yang, Approximating Spectral Densities of Large Matrices, 2016; Ghorbani, Krishnan
    and Xiao, An Investigation into Neural Net Optimization via Hessian Eigenvalue Density, 2019.
    """
    owner = "spectral_density"
    _check.require_operator(owner, operator)
    require_integer(owner, 0, seed=seed)
    require_integer(owner, 1, probes=probes)
    require_integer(owner, 2, points=points)
    if width is not None:
        require_positive(owner, width=width)
    steps = _check.steps_within(owner, operator, steps, 64)
    values, weights = quadrature(operator, probes, steps, seed)
    width = float(width or _default_width(values))
    grid = np.linspace(values.min() - 5 * width, values.max() + 5 * width, points)
    return SpectralDensity(
        grid, _smoothed(grid, values, weights, width), values, weights, width, operator.shape[0]
    )


def quadrature(operator, probes, steps, seed):
    """Ritz values of all probes and their weights, which sum to 1."""
    rng = np.random.default_rng(seed)
    found = [spectrum_of(operator, steps, rng) for _ in range(probes)]
    values = np.concatenate([spectrum.values for spectrum in found])
    return values, np.concatenate([spectrum.weights for spectrum in found]) / probes


def _default_width(values):
    extent = np.ptp(values)
    # One eigenvalue, n times: some width is needed, relative to its size.
    return 0.01 * extent if extent > 1e-6 * np.abs(values).max() else 0.01 * max(np.abs(values).max(), 1e-12)


def _smoothed(grid, values, weights, width):
    density = np.zeros_like(grid)
    for value, weight in zip(values, weights, strict=True):
        density += weight * np.exp(-0.5 * ((grid - value) / width) ** 2)
    return density / (width * np.sqrt(2 * np.pi))
