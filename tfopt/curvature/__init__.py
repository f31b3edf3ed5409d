"""Curvature of a loss: products with its Hessian, its spectrum, what kind of point this is."""

from tfopt.curvature.classify_critical_point import classify_critical_point
from tfopt.curvature.condition_number import condition_number
from tfopt.curvature.gauss_newton_operator import gauss_newton_operator
from tfopt.curvature.hessian_operator import hessian_operator
from tfopt.curvature.lanczos_spectrum import lanczos_spectrum
from tfopt.curvature.spectral_density import spectral_density

__all__ = [
    "classify_critical_point",
    "condition_number",
    "gauss_newton_operator",
    "hessian_operator",
    "lanczos_spectrum",
    "spectral_density",
]
