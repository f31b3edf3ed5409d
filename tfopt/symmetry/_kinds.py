"""What layers do to the units that come in, and which units they have: the knowledge of layer classes."""

from typing import NamedTuple

import keras

from tfopt.layers import BatchNormalization, LayerNormalization

# Kinds of functions φ: "linear"; "homogeneous", φ(αz) = αφ(z) for α > 0; "odd", φ(−z) = −φ(z); "other".
HOMOGENEOUS = ("relu", "leaky_relu")
ODD = ("tanh", "softsign", "tanh_shrink", "hard_tanh", "hard_shrink", "soft_shrink")
ELEMENTWISE = (
    "sigmoid", "elu", "selu", "celu", "gelu", "silu", "swish", "softplus", "exponential", "hard_sigmoid",
    "hard_silu", "hard_swish", "mish", "relu6", "log_sigmoid", "squareplus", "sparse_plus", "sparse_sigmoid",
    "threshold",
)  # fmt: skip

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
RECURRENT = (keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU)
RANDOM = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianNoise,
)
KINDS_OF_SPATIAL = "MaxPooling AveragePooling GlobalMaxPooling GlobalAveragePooling ZeroPadding Cropping"
SPATIAL = (
    keras.layers.Flatten,
    *(getattr(keras.layers, f"{kind}{rank}D") for kind in KINDS_OF_SPATIAL.split() for rank in (1, 2, 3)),
    *(getattr(keras.layers, f"UpSampling{rank}D") for rank in (1, 2, 3)),
)
NORMALIZING = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    BatchNormalization,
    LayerNormalization,
)


class Source(NamedTuple):
    """The units a layer has: number, places (variable, axis, power), nonlinearities, randomness."""

    size: int
    places: list
    functions: list
    random: bool = False


class Passing(NamedTuple):
    """What a layer does that keeps units apart: places (variable, axis, power), nonlinearities, the rest."""

    places: list = []
    functions: list = []
    random: bool = False


def kind_of(activation):
    """The kind of an activation function, None if it may mix units."""
    name = getattr(activation, "__name__", "linear")
    known = activation is None or getattr(keras.activations, name, None) is activation
    if not known or name not in ("linear", *HOMOGENEOUS, *ODD, *ELEMENTWISE):
        return None
    if name == "linear":
        return "linear"
    return "homogeneous" if name in HOMOGENEOUS else "odd" if name in ODD else "other"


def source_of(layer):
    """The `Source` of a layer, None if it has no units this package knows."""
    if type(layer) in RECURRENT:
        return _recurrent(layer)
    if isinstance(layer, (keras.layers.Dense, *CONVOLUTIONS, *TRANSPOSED)) and _plain(layer):
        axis = -2 if isinstance(layer, TRANSPOSED) else -1
        places = [(layer.kernel, axis % len(layer.kernel.shape), 1)]
        places += [(layer.bias, 0, 1)] if layer.use_bias else []
        return Source(layer.kernel.shape[axis], places, [kind_of(layer.activation)])
    if isinstance(layer, keras.layers.Embedding):
        return Source(layer.output_dim, [(layer.embeddings, 1, 1)], [])
    return None


def _plain(layer):
    """Whether channels come last, all filters see all inputs, and the activation is known."""
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return last and getattr(layer, "groups", 1) == 1 and kind_of(layer.activation) is not None


def _recurrent(layer):
    cell = layer.cell
    simple = cell.kernel.shape[1] == cell.units
    # What a gate makes of a scaled input is not scaled.
    power = 1 if simple else None
    places = [
        (cell.kernel, 1, power),
        (cell.recurrent_kernel, 1, power),
        (cell.recurrent_kernel, 0, -1),
    ]
    if cell.bias is not None:
        places.append((cell.bias, len(cell.bias.shape) - 1, power))
    functions = [kind_of(cell.activation)] if simple else ["other"]
    known = kind_of(cell.activation) and kind_of(getattr(cell, "recurrent_activation", None))
    random = bool(layer.dropout or layer.recurrent_dropout)
    return Source(cell.units, places, functions, random) if known else None


def end_of(layer):
    """(variable, axis) where the inputs of a layer are counted, if it takes them up; else None."""
    if isinstance(layer, keras.layers.Bidirectional):
        ends = [end_of(layer.forward_layer), end_of(layer.backward_layer)]
        return None if None in ends else [place for end in ends for place in end]
    if type(layer) in RECURRENT:
        return [(layer.cell.kernel, 0)]
    if isinstance(layer, keras.layers.Dense):
        return [(layer.kernel, 0)]
    if isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)) and layer.data_format == "channels_last":
        axis = len(layer.kernel.shape) - (1 if isinstance(layer, TRANSPOSED) else 2)
        return [(layer.kernel, axis)] if getattr(layer, "groups", 1) == 1 else None
    return None


def passing_of(layer, tensor):
    """The `Passing` of a layer that takes `tensor`, None if it may mix units."""
    if isinstance(layer, RANDOM):
        return Passing(random=True)
    if isinstance(layer, SPATIAL):
        last = getattr(layer, "data_format", "channels_last") == "channels_last"
        largest = ["homogeneous"] if "Max" in type(layer).__name__ else []
        return Passing(functions=largest) if last else None
    if isinstance(layer, NORMALIZING):
        return _normalizing(layer, tensor)
    return _nonlinear(layer)


def _normalizing(layer, tensor):
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    last = {axis % len(tensor.shape) for axis in axes} == {len(tensor.shape) - 1}
    vectors = all(len(variable.shape) == 1 for variable in layer.weights)
    return Passing([(variable, 0, None) for variable in layer.weights]) if last and vectors else None


def _nonlinear(layer):
    if isinstance(layer, keras.layers.Activation):
        kind = kind_of(layer.activation)
        return Passing(functions=[kind]) if kind else None
    if isinstance(layer, keras.layers.ReLU):
        plain = layer.max_value is None and not layer.threshold
        return Passing(functions=["homogeneous" if plain else "other"])
    if isinstance(layer, keras.layers.LeakyReLU):
        return Passing(functions=["homogeneous"])
    if isinstance(layer, keras.layers.PReLU):
        return Passing([(layer.alpha, len(layer.alpha.shape) - 1, 0)], ["homogeneous"])
    if isinstance(layer, keras.layers.ELU):
        return Passing(functions=["other"])
    return None
