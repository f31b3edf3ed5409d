"""rescale_units: the same model with the hidden units of a layer on another scale."""

import numpy as np

from tfopt._check import require
from tfopt.symmetry._units import copy_of, units_along
from tfopt.symmetry.permute_units import known_units, twin_of

ALLOWED = {"linear": "any but 0", "homogeneous": "above 0", "odd": "1 and −1", "other": "1"}


def rescale_units(model, layer, factors):
    """An equivalent model with the units of one layer α times as large, and taken up 1/α times as strongly.

    Where the nonlinearity is homogeneous, φ(αz) = αφ(z), as of ReLU, leaky ReLU, PReLU and the identity for
    α > 0, weights and biases may grow by any factor if what leads away shrinks by the same::

        W'_{·j} = α_j W_{·j},   b'_j = α_j b_j,   V'_{j·} = V_{j·}/α_j

    The function stays, the gradient does not: ∂J/∂W' = (∂J/∂W)/α. So minima come in continua, and neither
    the norm of weights nor the sharpness of a minimum says anything by itself. Odd functions, such as tanh,
    allow α = −1; functions that are both, only the identity here, any α other than 0.

    Pooling by maximum asks for α > 0. Normalisation on the way takes the scale out again and is refused, and
    so are gates. A weight penalty makes a difference between the models that the outputs do not show.

    Args:
        model: A built Sequential or functional model.
        layer: A layer of it, or its name, as for `permute_units`.
        factors: α: a number, or one for each unit.

    Returns:
        A copy of the model, not compiled; its outputs are the same up to rounding, exactly so for powers of
        2. The model itself is left as it is.

    Raises:
        ValueError: If an argument does not fit, or a layer on the way does not allow it; it is named.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> layers = [keras.layers.Dense(3, "relu", name="hidden"), keras.layers.Dense(2)]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> other = tfopt.symmetry.rescale_units(model, "hidden", [8.0, 1.0, 0.25])
        >>> x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
        >>> bool(np.allclose(model(x), other(x), atol=1e-6)), np.allclose(model.weights[0], other.weights[0])
        (True, False)

    Source: chapter section 2.2; Dinh, Pascanu, Bengio and Bengio, Sharp Minima Can Generalize for Deep Nets,
    2017, section 3.
    """
    owner = "rescale_units"
    units = known_units(owner, model, layer)
    factors = np.asarray(factors, float)
    good = factors.shape in ((), (units.size,)) and np.isfinite(factors).all() and (factors != 0).all()
    require(
        good, owner, "factors", factors.tolist(), f"a finite number other than 0, or {units.size} of them"
    )
    factors = np.broadcast_to(factors, (units.size,))
    _require_scalable(owner, units, factors)
    made = copy_of(model)
    for place in units.places:
        variable = twin_of(place.variable, model, made)
        shape = [1] * len(variable.shape)
        shape[place.axis] = -1
        scale = factors[units_along(place, units.size)] ** place.power
        variable.assign(variable.numpy() * scale.reshape(shape).astype(variable.dtype))
    return made


def _require_scalable(owner, units, factors):
    for place in units.places:
        allowed = place.power is not None
        expected = "units that nothing normalises and that pass through no gate"
        require(allowed, owner, "layer", f"{units.layer.name}, {place.variable.path}", expected)
    allows = {
        "linear": True,
        "homogeneous": (factors > 0).all(),
        "odd": (np.abs(factors) == 1).all(),
        "other": (factors == 1).all(),
    }
    for name, kind in units.functions:
        expected = f"factors that the {kind} function in {name!r} allows: {ALLOWED[kind]}"
        require(allows[kind], owner, "factors", factors.tolist(), expected)
