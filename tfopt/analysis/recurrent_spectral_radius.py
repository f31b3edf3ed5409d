"""recurrent_spectral_radius: whether a recurrent layer forgets or magnifies what lies behind it."""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import is_number, require
from tfopt.analysis._finding import Finding
from tfopt.analysis._taps import recurrent_layers, state_sizes
from tfopt.analysis._trend import Trend
from tfopt.analysis.gradient_flow import ADVICE, REASONS


class RecurrentRadius(NamedTuple):
    """The map from one state of a recurrent layer to the next, to first order.

    Attributes:
        name: Name of the layer.
        eigenvalues: Of the Jacobian ∂s'/∂s, by falling modulus.
        norm: Its largest singular value: one step back never magnifies a gradient by more.
        trend: `Trend`; its value is a sentence.
    """

    name: str
    eigenvalues: np.ndarray
    norm: float
    trend: Trend

    @property
    def radius(self):
        """The spectral radius max|λ|: the factor per step, over many steps."""
        return float(abs(self.eigenvalues[0]))

    @property
    def horizon(self):
        """Number of steps that change a gradient by a factor of 10; infinite at radius 1, 0 at radius 0."""
        if self.radius in (0.0, 1.0):
            return math.inf if self.radius else 0.0
        return abs(math.log(10.0) / math.log(self.radius))

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        if self.trend is Trend.STEADY:
            return []
        return [
            Finding(
                name=f"{self.trend.name.lower()} recurrence in {self.name}",
                sentence=f"The spectral radius is {self.radius:.3g}: a factor of 10 every "
                f"{self.horizon:.3g} time steps.",
                reason=REASONS[self.trend],
                advice=ADVICE[self.trend],
            )
        ]


def recurrent_spectral_radius(target, tolerance=0.1):
    """Spectral radius of the step from one state of a recurrent layer to the next.

    Over t steps a linear recurrence multiplies a gradient by (Wᵗ)ᵀ = V⁻ᵀΛᵗVᵀ, so it vanishes where all
    |λ| < 1 and may explode where one |λ| > 1. For a cell s' = f(x, s) the matrix is the Jacobian ∂f/∂s, here
    at rest, x = 0 and s = 0::

        SimpleRNN   diag(φ'(b)) Wᵀ, which is the recurrent kernel itself for tanh with b = 0
        LSTM, GRU   what gates and candidates make of h and c there: about the forget gate's σ(b_f)

    Away from rest saturated units shorten the reach further; `gradient_flow` measures that on data. A cell
    with layer normalisation is not at home there: it divides by the deviation of a constant.

    Args:
        target: A built recurrent layer (`keras.layers.RNN` or a subclass), or a model with such layers,
            wrapped ones included. Cells whose states are nested are left out.
        tolerance: How far from 1 the radius may lie and still count as steady, in [0, 1).

    Returns:
        A list with a `RecurrentRadius` of each layer, with ``name``, ``radius``, ``eigenvalues``, ``norm``,
        ``horizon``, ``trend`` and ``findings``.

    Raises:
        ValueError: If there is no such layer, or it is not built.

    Example:
        >>> import keras, tfopt
        >>> layer = keras.layers.SimpleRNN(3, recurrent_initializer=keras.initializers.Identity(0.5))
        >>> layer.build((None, None, 2))
        >>> (found,) = tfopt.analysis.recurrent_spectral_radius(layer)
        >>> round(found.radius, 6), found.trend.name, round(found.horizon, 2)
        (0.5, 'VANISHING', 3.32)

    Source: Pascanu, Mikolov and Bengio, On the Difficulty of Training Recurrent Neural Networks, 2013,
    section 2; chapter section 2.5.
    """
    owner = "recurrent_spectral_radius"
    good = is_number(tolerance) and 0 <= tolerance < 1
    require(good, owner, "tolerance", tolerance, "0 <= tolerance < 1")
    expected = "a built recurrent layer, or a built model with one"
    require(isinstance(target, keras.layers.Layer) and target.built, owner, "target", target, expected)
    layers = recurrent_layers(target)
    require(layers, owner, "target", target, expected)
    return [_radius_of(layer, tolerance) for layer in layers]


def _radius_of(layer, tolerance):
    jacobian = _jacobian_at_rest(layer.cell)
    eigenvalues = np.linalg.eigvals(jacobian)
    eigenvalues = eigenvalues[np.argsort(-np.abs(eigenvalues), kind="stable")]
    radius = abs(eigenvalues[0])
    trend = Trend.STEADY
    if abs(radius - 1) > tolerance:
        trend = Trend.VANISHING if radius < 1 else Trend.EXPLODING
    return RecurrentRadius(layer.name, eigenvalues, float(np.linalg.norm(jacobian, 2)), trend)


def _jacobian_at_rest(cell):
    """∂s'/∂s as a float64 matrix, states one behind the other."""
    sizes, dtype = state_sizes(cell), cell.compute_dtype
    states = [tf.zeros((1, size), dtype) for size in sizes]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(states)
        # Cells differ in what they do with masks of dropout; without training there are none.
        _, new = cell(tf.zeros((1, _width(cell)), dtype), list(states))
        joined = tf.concat(tf.nest.flatten(new), axis=-1)[0]
    rows = [tape.jacobian(joined, state, unconnected_gradients="zero") for state in states]
    return np.concatenate([row.numpy()[:, 0].astype(float) for row in rows], axis=1)


def _width(cell):
    """Number of inputs of a cell: the rows of its kernel."""
    kernel = getattr(cell, "kernel", None)
    return cell.trainable_weights[0].shape[0] if kernel is None else kernel.shape[0]
