"""loss_slice: the loss along a line or on a plane through the weights, with the run's path on it."""

from typing import NamedTuple

import keras
import numpy as np

from tfopt._check import require, require_integer, require_positive
from tfopt._figure import panels
from tfopt.analysis._loss import loss_of

KINDS = ("filter", "layer", None)


class LossSlice(NamedTuple):
    """Values of the loss on a grid of steps from the weights along one or two directions.

    Attributes:
        axes: One or two arrays of steps along the directions.
        losses: J(θ + αd₁) or J(θ + αd₁ + βd₂), of shape (len(α),) or (len(α), len(β)).
        directions: The directions as rows, float64.
        path: Coordinates of the run's path, one row per point, or None.
        path_losses: Losses on the path itself, off the plane too; or None.
        explained: Share of the path's variance along each direction, where these are its principal ones.
    """

    axes: tuple
    losses: np.ndarray
    directions: np.ndarray
    path: np.ndarray | None
    path_losses: np.ndarray | None
    explained: np.ndarray | None

    @property
    def lowest(self):
        """The steps to the lowest point of the grid."""
        place = np.unravel_index(np.nanargmin(self.losses), self.losses.shape)
        return tuple(float(axis[i]) for axis, i in zip(self.axes, place, strict=True))

    def plot(self):
        """Draw the curve, or contours, with the path.

        The weights are at 0, marked by a star; the path starts at the square.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show and `savefig` writes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        (axes,) = panels("LossSlice", 1, width=6.0, height=4.5)
        (_curve if len(self.axes) == 1 else _contours)(axes, self)
        return axes.figure


def loss_slice(
    target,
    x,
    y=None,
    sample_weight=None,
    *,
    dimensions=2,
    directions=None,
    path=None,
    span=1.0,
    points=21,
    normalize="filter",
    seed=0,
    batch_size=None,
    training=False,
    jit_compile=False,
):
    """The loss on a line or plane through the weights θ, with the path of a run drawn on it.

        f(α) = J(θ + αd)   or   f(α, β) = J(θ + αd₁ + βd₂)

    Random directions say how sharp a minimum is only if they know the scale of the weights, which ReLU and
    normalisation layers leave free. With ``normalize="filter"`` each filter d_ij of a direction, what leads
    to one unit, gets the norm of the weights' filter; biases and scales of normalisation stay, as in the
    paper::

        d_ij ← d_ij ‖θ_ij‖/‖d_ij‖

    With a `path`, the weights at some moments of a run, and no directions given, the directions are the
    principal ones of θ_t − θ (PCA, not centred, so that the plane goes through θ), of unit length, and the
    grid reaches 25 % beyond the path; `explained` says how much of it the plane holds. The pictures say
    nothing about the directions left out.

    Takes points^dimensions values of the loss, and one for each point of the path. Weights, moving statistics
    and metrics are left as they were.

    Args:
        target: As for `tfopt.curvature.hessian_operator`: a compiled model or a function of `x`.
        x: As there.
        y: As there.
        sample_weight: As there.
        dimensions: 1 or 2.
        directions: One or two directions, each a vector of all trainable weights or a list of arrays in their
            shapes, such as the difference of two runs' weights, taken as they are; `dimensions` then is their
            number. None for the path's, or random ones.
        path: Weights of a run, each as `model.get_weights()` gives them, a list of arrays in the shapes of
            the trainable weights, or a vector.
        span: The grid reaches from −span to span along each direction, > 0; with principal directions a
            factor on the grid's size.
        points: Number of points of each axis, >= 3; odd ones include θ.
        normalize: "filter", "layer" (each weight array has the norm of the weights'), or None (standard
            normal numbers); for random directions.
        seed: Seed of random directions.
        batch_size: As there.
        training: As there.
        jit_compile: As there.

    Returns:
        A `LossSlice`, with ``axes``, ``losses``, ``directions``, ``path``, ``path_losses``, ``explained``,
        ``lowest`` and ``plot()``.

    Raises:
        ValueError: If the model has no loss, or an argument lies outside its range.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> bowl = lambda x: tf.reduce_sum(x**2)
        >>> found = tfopt.analysis.loss_slice(bowl, tf.constant([3.0, 4.0]), directions=[[3.0, 4.0]])
        >>> found.losses[[0, 10, 20]].tolist(), found.lowest
        ([0.0, 25.0, 100.0], (-1.0,))

    Source: Goodfellow, Vinyals and Saxe, Qualitatively Characterizing Neural Network Optimization Problems,
    2015; Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss Landscape of Neural Nets, 2018, sections
    4 and 7; chapter section 2.7.
    """
    owner = "loss_slice"
    require(dimensions in (1, 2), owner, "dimensions", dimensions, "1 or 2")
    require_positive(owner, span=span)
    require_integer(owner, 3, points=points)
    require_integer(owner, 0, seed=seed)
    require(normalize in KINDS, owner, "normalize", normalize, 'one of "filter", "layer", None')
    options = dict(batch_size=batch_size, training=training, jit_compile=jit_compile)
    loss = loss_of(owner, target, (x, y, sample_weight), **options)
    center = loss.vector()
    moves = None if path is None else _path_of(loss, path) - center
    explained, reach = None, [(-span, span)] * dimensions
    if directions is not None:
        rows = _given(loss, directions)
        reach = [(-span, span)] * len(rows)
    elif moves is not None:
        rows, explained = _principal(owner, moves, dimensions)
        reach = _reach(moves @ rows.T, span)
    else:
        rows = _random(loss, dimensions, normalize, seed)
    coordinates = None if moves is None else np.linalg.lstsq(rows.T, moves.T, rcond=None)[0].T
    axes = tuple(np.linspace(low, high, points) for low, high in reach)
    losses = _values(loss, center, _grid(axes) @ rows).reshape([points] * len(rows))
    on_path = None if moves is None else _values(loss, center, moves)
    return LossSlice(axes, losses, rows, coordinates, on_path, explained)


def _values(loss, center, moves):
    found = []
    for move in moves:
        with loss.at(center + move):
            found.append(loss.value())
    return np.array(found)


def _grid(axes):
    return np.stack([part.ravel() for part in np.meshgrid(*axes, indexing="ij")], axis=1)


# -- directions -------------------------------------------------------------------------------------------


def _random(loss, count, normalize, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        pieces = loss.pieces(loss.vector())
        drawn = [_scaled(rng.normal(size=piece.shape), piece, normalize) for piece in pieces]
        rows.append(np.concatenate([np.ravel(part) for part in drawn]))
    return np.stack(rows)


def _scaled(direction, weights, normalize):
    """One weight array's part of a direction, in the scale of the weights."""
    if normalize is None:
        return direction
    if normalize == "filter" and weights.ndim < 2:
        return np.zeros_like(direction)
    axes = tuple(range(weights.ndim - 1)) if normalize == "filter" else None
    norms = [np.sqrt(np.sum(part**2, axis=axes, keepdims=True)) for part in (weights, direction)]
    return direction * norms[0] / np.maximum(norms[1], 1e-300)


def _given(loss, directions):
    good = isinstance(directions, (list, tuple, np.ndarray)) and len(directions) in (1, 2)
    require(good, loss.owner, "directions", type(directions), "a list of one or two directions")
    rows = np.stack([_vector(loss, "directions", direction) for direction in directions])
    independent = np.linalg.matrix_rank(rows) == len(rows)
    require(independent, loss.owner, "directions", rows.shape, "directions other than 0 and than each other")
    return rows


def _principal(owner, moves, count):
    """The first principal directions of the moves, and their shares of the variance."""
    _, sizes, rows = np.linalg.svd(moves, full_matrices=False)
    there = int((sizes > 1e-12 * sizes[0]).sum()) if len(sizes) and sizes[0] > 0 else 0
    expected = f"weights of at least {count} moments that differ from the present ones in {count} directions"
    require(there >= count, owner, "path", f"{len(moves)} points", expected)
    return rows[:count], sizes[:count] ** 2 / np.sum(sizes**2)


def _reach(coordinates, span):
    """From the least to the largest coordinate, 0 included, and a quarter of that beyond."""
    low, high = np.minimum(coordinates.min(0), 0.0), np.maximum(coordinates.max(0), 0.0)
    margin = 0.25 * np.maximum(high - low, 1e-12)
    return list(zip(span * (low - margin), span * (high + margin), strict=True))


def _path_of(loss, path):
    good = isinstance(path, (list, tuple, np.ndarray)) and len(path) > 0
    require(good, loss.owner, "path", type(path), "a list of at least one point of a run")
    return np.stack([_vector(loss, "path", point) for point in path])


def _vector(loss, argument, point):
    """Weights in any of their forms as one float64 vector."""
    parts = [np.asarray(part, float) for part in (point if isinstance(point, (list, tuple)) else [point])]
    model = loss.subject.model
    if isinstance(model, keras.Model) and len(parts) == len(model.weights) != len(loss.subject.sources):
        trainable = {id(variable) for variable in model.trainable_variables}
        rows = zip(parts, model.weights, strict=True)
        parts = [part for part, variable in rows if id(variable) in trainable]
    flat = np.concatenate([np.ravel(part) for part in parts])
    expected = f"{loss.size} finite numbers: a vector of the trainable weights, or arrays in their shapes"
    require(
        flat.size == loss.size and np.isfinite(flat).all(),
        loss.owner,
        argument,
        f"{flat.size} numbers",
        expected,
    )
    return flat


# -- drawing ----------------------------------------------------------------------------------------------


def _curve(axes, found):
    axes.plot(found.axes[0], found.losses, "k-")
    axes.plot(0.0, np.interp(0.0, found.axes[0], found.losses), "k*", markersize=12)
    if found.path is not None:
        axes.plot(found.path[:, 0], found.path_losses, "o--", markersize=4, label="the run")
        axes.legend()
    axes.set(xlabel=_label(found, 0), ylabel="loss", title="Loss along a line through the weights")


def _contours(axes, found):
    losses = np.where(np.isfinite(found.losses), found.losses, np.nan).T
    levels = np.unique(np.nanquantile(losses, np.linspace(0.0, 1.0, 15)))
    if len(levels) > 1:
        lines = axes.contour(*found.axes, losses, levels=levels, colors="0.4", linewidths=0.8)
        axes.clabel(lines, fontsize=7, fmt="%.3g")
    axes.plot(0.0, 0.0, "k*", markersize=12)
    if found.path is not None:
        axes.plot(*found.path.T, "o-", markersize=3, linewidth=1.2, label="the run")
        axes.plot(*found.path[0], "ks", markersize=7)
        axes.legend()
    axes.set(xlabel=_label(found, 0), ylabel=_label(found, 1), title="Loss on a plane through the weights")


def _label(found, index):
    name = f"step along direction {index + 1}"
    if found.explained is None:
        return name
    return f"{name} ({100 * found.explained[index]:.0f} % of the path)"
