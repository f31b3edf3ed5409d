"""layer_interaction: how far layers updated together spoil each other's first-order promise."""

from typing import NamedTuple

import keras
import numpy as np

from tfopt._check import require_positive
from tfopt.analysis._finding import Finding
from tfopt.analysis._loss import Loss, loss_of
from tfopt.analysis._projection import Projection, outputs_of
from tfopt.analysis._taps import weighted_layers

# Gauss–Legendre nodes on the way from θ to θ + Δ: exact for polynomials up to degree 15, 17 layers deep.
NODES, WEIGHTS = (part for part in np.polynomial.legendre.leggauss(8))


class LayerShare(NamedTuple):
    """What the update of one layer's weights contributes to the change of the outputs.

    Attributes:
        name: Name of the layer, or of the variable of a function.
        first: First order in the step.
        second: Second order: half of what it makes together with every layer's update, its own included.
        higher: Third and higher orders.
    """

    name: str
    first: float
    second: float
    higher: float

    @property
    def change(self):
        """The layer's part of the change: first + second + higher."""
        return self.first + self.second + self.higher


class LayerInteraction(NamedTuple):
    """The change of the outputs by a simultaneous update, by order and by layer.

    Attributes:
        change: ‖z(θ + Δ) − z(θ)‖ over all samples.
        first: What of it the first order predicts, along the direction in which the outputs moved.
        second: Its second-order part.
        higher: The rest.
        layers: A `LayerShare` for each layer; they sum to the above.
    """

    change: float
    first: float
    second: float
    higher: float
    layers: tuple

    @property
    def beyond_first(self):
        """(|second| + |higher|)/(|first| + |second| + |higher|): 0 where layers do not interfere."""
        total = abs(self.first) + abs(self.second) + abs(self.higher)
        return (abs(self.second) + abs(self.higher)) / total if total else 0.0

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        if self.beyond_first < 0.5:
            return []
        worst = max(self.layers, key=lambda row: abs(row.second) + abs(row.higher))
        return [
            Finding(
                name="layers interfere",
                sentence=f"{100 * self.beyond_first:.0f} % of the step's effect on the outputs are of "
                f"second and higher order, most of it by {worst.name}.",
                reason="The gradient tells what one layer's update does while all others stand still. "
                "Updated together, layers multiply: large weights elsewhere magnify the product.",
                advice=f"A smaller learning rate, normalisation layers, smaller weights; or a "
                f"smaller rate for that layer: learning_rate_multipliers={{{worst.name!r}: 0.1}}.",
            )
        ]


def layer_interaction(
    target, x, y=None, sample_weight=None, *, learning_rate, batch_size=None, jit_compile=False
):
    """Change of the outputs by a simultaneous update of all layers, against its first-order prediction.

    For one unit per layer, ŷ = x w₁w₂⋯w_l, the chapter expands ŷ(w − εg) − ŷ(w) into first, second and
    higher orders of ε: the effect of one layer's update depends on the weights of all others. Here z(θ) are
    the outputs over all samples, Δ = −εg the step, u = (z(θ + Δ) − z(θ))/‖·‖ the direction in which they
    really move, and q(θ) = uᵀz(θ)::

        change = q(θ + Δ) − q(θ) = ‖z(θ + Δ) − z(θ)‖
        first  = ∇q·Δ,   second = ½ΔᵀHΔ with H the Hessian of q,   higher = change − first − second
        layer l:  ∇_l q·Δ_l,   ½Δ_lᵀ(HΔ)_l,   ∫₀¹ ∇_l q(θ + sΔ)·Δ_l ds less these two

    The layers' rows sum to the totals. The integral takes 8 Gauss–Legendre points, exact where the outputs
    are a polynomial in the step up to degree 16.

    For a model g is the gradient of the compiled loss; for a function, of its output itself, as in the
    chapter. Takes 10 gradients, one Hessian product and three forward passes of the data.

    Args:
        target: A built and compiled Keras model, or a function of `x` that returns a real scalar.
        x: Inputs of a model, as for `tfopt.curvature.hessian_operator`; of a function its argument, a nest
            whose parts are taken for the layers.
        y: Targets of a model, where `x` is arrays.
        sample_weight: Weights of the samples, where `x` is arrays.
        learning_rate: ε > 0.
        batch_size: Samples per batch of arrays; None takes all at once.
        jit_compile: Whether XLA compiles the gradients.

    Returns:
        A `LayerInteraction`, with ``change``, ``first``, ``second``, ``higher``, ``beyond_first``, ``layers``
        and ``findings``, in units of the outputs.

    Raises:
        ValueError: If the model has no loss or an argument lies outside its range.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> product = lambda w: w[0] * w[1] * w[2]
        >>> found = tfopt.analysis.layer_interaction(product, [tf.constant(2.0)] * 3, learning_rate=0.1)
        >>> round(found.first, 4), round(found.second, 4), round(found.higher, 4)  # of a fall by 3.904
        (4.8, -0.96, 0.064)

    Source: chapter section 10.1.2; Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.7.1.
    """
    owner = "layer_interaction"
    require_positive(owner, learning_rate=learning_rate)
    loss = loss_of(owner, target, (x, y, sample_weight), batch_size=batch_size, jit_compile=jit_compile)
    step = -learning_rate * loss.value_and_gradient()[1]
    change, directions = _moved(loss, step)
    projected = Loss(Projection(loss.subject, directions), jit_compile)
    parts = _orders(projected, step)
    groups = _groups(loss.subject) if isinstance(target, keras.Model) else _parts(loss)
    first, second, higher = (float(part.sum()) for part in parts)
    return LayerInteraction(change, first, second, higher, _rows(parts, groups))


def _moved(loss, step):
    """How far the outputs move, and the direction of it: a list of arrays for each batch."""
    before = outputs_of(loss.subject)
    with loss.at(loss.vector() + step):
        after = outputs_of(loss.subject)
    moves = [
        [new.astype(float) - old for new, old in zip(*pair, strict=True)]
        for pair in zip(after, before, strict=True)
    ]
    length = float(np.sqrt(sum(np.sum(move**2) for row in moves for move in row)))
    return length, [[move / (length or 1.0) for move in row] for row in moves]


def _orders(projected, step):
    """First, second and higher order of the change of q, weight by weight."""
    start = projected.vector()
    first = projected.value_and_gradient()[1] * step
    second = 0.5 * step * (projected.hessian @ step)
    whole = np.zeros_like(step)
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        with projected.at(start + 0.5 * (1 + node) * step):
            whole += 0.5 * weight * projected.value_and_gradient()[1] * step
    return first, second, whole - first - second


def _rows(parts, groups):
    return tuple(
        LayerShare(name, *(float(sum(part[a:b].sum() for a, b in spans)) for part in parts))
        for name, spans in groups.items()
    )


def _groups(model):
    """Name of each layer -> the spans of its weights in the vector of all."""
    sizes = [source.shape.num_elements() for source in model.sources]
    ends = np.cumsum([0, *sizes])
    variables = model.model.trainable_variables
    places = {id(variable): (ends[i], ends[i + 1]) for i, variable in enumerate(variables)}
    groups: dict = {}
    for layer in weighted_layers(model.model):
        own = [id(variable) for variable in layer.trainable_variables]
        groups[layer.name] = [places.pop(key) for key in own if key in places]
    if places:
        groups["other weights"] = list(places.values())
    return groups


def _parts(loss):
    ends = np.cumsum([0, *(source.shape.num_elements() for source in loss.subject.sources)])
    return {f"x[{i}]": [(ends[i], ends[i + 1])] for i in range(len(ends) - 1)}
