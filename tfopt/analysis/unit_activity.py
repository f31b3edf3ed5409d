"""unit_activity: units whose slope has gone, so that no gradient passes."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import is_number, require
from tfopt.analysis._convolutions import CONVOLUTIONS
from tfopt.analysis._finding import Finding
from tfopt.analysis._taps import Taps
from tfopt.curvature._batches import Batches, size_of
from tfopt.curvature._model import call_model
from tfopt.repair._glue import layers_within

# Activation -> its slope as a share of the largest one, told from its value h.
SLOPES = {
    "relu": lambda h: tf.cast(h > 0, h.dtype),
    "relu6": lambda h: tf.cast((h > 0) & (h < 6), h.dtype),
    "sigmoid": lambda h: 4 * h * (1 - h),
    "hard_sigmoid": lambda h: tf.cast((h > 0) & (h < 1), h.dtype),
    "tanh": lambda h: 1 - h * h,
    "hard_tanh": lambda h: tf.cast(abs(h) < 1, h.dtype),
    "softsign": lambda h: (1 - abs(h)) ** 2,
    "softplus": lambda h: 1 - tf.exp(-h),
    "elu": lambda h: tf.minimum(h, 0.0) + 1,
}
RECTIFIERS = ("relu", "relu6")
WITH_ACTIVATION = (
    keras.layers.Activation,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    *CONVOLUTIONS,
    keras.layers.SimpleRNN,
)


class LayerActivity(NamedTuple):
    """The units of one layer.

    Attributes:
        name: Name of the layer.
        activation: Name of its activation.
        units: Number of its units.
        dead: Indices of units whose slope is 0 for every sample.
        saturated: Indices of the other units whose slope is small for most samples.
        slopes: Mean slope of each unit, as a share of the activation's largest.
        samples: Number of values seen of each unit: samples times positions.
    """

    name: str
    activation: str
    units: int
    dead: tuple
    saturated: tuple
    slopes: np.ndarray
    samples: int

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        rectifies = self.activation in RECTIFIERS
        found = []
        if self.dead:
            found.append(
                Finding(
                    name=f"dead units in {self.name}",
                    sentence=f"{self._count(self.dead)} have slope 0 in all {self.samples} values.",
                    reason="Where the activation is flat no gradient reaches the weights before it: such a "
                    "unit stays as it is, whatever the loss, until the layers before it move its inputs.",
                    advice=RECTIFIED if rectifies else SQUASHED,
                )
            )
        if self.saturated:
            found.append(
                Finding(
                    name=f"saturated units in {self.name}",
                    sentence=f"{self._count(self.saturated)} have next to no slope for most samples.",
                    reason="In the flat part of the activation the gradient is next to 0, so that the unit "
                    "and all before it learn slowly, and stop too early.",
                    advice=RECTIFIED if rectifies else SQUASHED,
                )
            )
        return found

    def _count(self, units):
        listed = ", ".join(map(str, units[:8])) + (", …" if len(units) > 8 else "")
        return f"{len(units)} of {self.units} units of {self.activation} ({listed})"


RECTIFIED = (
    "A small positive start of the bias (`initializers.ReLUBias`) and smaller learning rates; LeakyReLU or "
    "`layers.Maxout`, which have no flat part; a normalisation layer before the activation."
)
SQUASHED = (
    "Smaller initial weights (`tune_init_scale`), inputs of mean 0 and variance 1, a normalisation layer "
    "before the activation, or ReLU units."
)


class UnitActivity(NamedTuple):
    """The units of all hidden layers whose activation has flat parts.

    Attributes:
        layers: A `LayerActivity` for each, in the order of the calls.
    """

    layers: tuple

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        return [finding for layer in self.layers for finding in layer.findings]


def unit_activity(model, x, *, slope=0.05, share=0.95, batch_size=None):
    """Dead and saturated units: those whose activation has no slope on the data, or next to none.

    The gradient passes a unit h = φ(z) as φ'(z) times what comes from behind. Here φ' is told from h and
    counted as a share of its largest value, over all samples and, for convolutions, all positions::

        relu  [h > 0]     sigmoid  4h(1 − h)     tanh  1 − h²     softsign  (1 − |h|)²     elu  min(h, 0) + 1
        relu6 [0 < h < 6] hard_sigmoid [0 < h < 1]   hard_tanh [|h| < 1]   softplus  1 − e^(−h)

    A unit is dead if this is 0 throughout, to the precision of h, and saturated if it is below `slope` for
    at least a `share` of the values. A rectifier is 0 or 1, so a unit that fires for less than 1 − `share` of
    the samples counts as saturated.

    Looked at are Dense, EinsumDense, convolutions, SimpleRNN, Activation and ReLU layers, wrapped ones and
    those of models inside too; not the model's outputs, which may well be certain, nor layers called within
    a loop. Nothing of the model changes. Takes one forward pass of the data.

    Args:
        model: A built Keras model; it need not be compiled.
        x: Its inputs: arrays, or a finite `tf.data.Dataset` or `keras.utils.PyDataset`, whose targets are
            left aside.
        slope: Share of the largest slope below which a unit counts as flat, in (0, 1).
        share: Share of the values for which it must be, in (0, 1].
        batch_size: Samples per batch of arrays; None takes all at once.

    Returns:
        A `UnitActivity`, with ``layers``, each with ``name``, ``activation``, ``units``, ``dead``,
        ``saturated``, ``slopes`` and ``samples``, and with ``findings``.

    Raises:
        ValueError: If the model is not built or an argument lies outside its range.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> hidden = keras.layers.Dense(3, "relu", name="hidden")
        >>> model = keras.Sequential([keras.Input((1,)), hidden, keras.layers.Dense(1)])
        >>> hidden.set_weights([np.array([[1.0, -1.0, 1.0]]), np.array([0.0, 0.0, -9.0])])
        >>> found = tfopt.analysis.unit_activity(model, np.linspace(-1, 1, 8)[:, None])
        >>> found.layers[0].dead, found.findings[0].name
        ((2,), 'dead units in hidden')

    Source: Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks,
    2010; chapter sections 9.2 and 10.1.
    """
    owner = "unit_activity"
    require(isinstance(model, keras.Model) and model.built, owner, "model", model, "a built keras.Model")
    require(is_number(slope) and 0 < slope < 1, owner, "slope", slope, "0 < slope < 1")
    require(is_number(share) and 0 < share <= 1, owner, "share", share, "0 < share <= 1")
    return UnitActivity(_Counts(model, slope).rows(Batches(owner, (x, None, None), batch_size), share))


def activation_of(layer):
    """The name of the activation whose value a layer returns, None where it is not in `SLOPES`."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6)
        return ("relu6" if layer.max_value else "relu") if plain else None
    if isinstance(layer, keras.layers.ELU):
        return "elu" if layer.alpha == 1 else None
    if not isinstance(layer, WITH_ACTIVATION):
        return None
    name = getattr(layer.activation, "__name__", "")
    return name if name in SLOPES and layer.activation is getattr(keras.activations, name) else None


class _Counts:
    """What is summed over the values of each unit: their number, slopes, flat ones; the largest slope."""

    def __init__(self, model, slope):
        self.model, self.slope = model, slope
        self.layers = [layer for layer in layers_within(model) if activation_of(layer)]
        self._of_batch = tf.function(self._traced, autograph=False)
        self.seen: list = []

    def rows(self, batches, share):
        """A `LayerActivity` for each layer that was called."""
        totals: dict = {}
        for x, _, _ in batches:
            require(size_of(x) > 0, "unit_activity", "x", x, "batches with samples")
            for index, part in zip(*self._counted(x), strict=True):
                totals[index] = _joined(totals[index], part) if index in totals else part
        return tuple(self._row(self.layers[index], totals[index], share) for index in totals)

    def _counted(self, x):
        held = list(self.model.non_trainable_variables)
        before = [tf.identity(variable.value) for variable in held]
        found = [[part.numpy() for part in parts] for parts in self._of_batch(x)]
        for variable, value in zip(held, before, strict=True):
            variable.assign(value)
        return self.seen, found

    def _traced(self, x):
        taps = Taps(None)
        with taps.on(self.layers, []):
            ends = tf.nest.flatten(call_model(self.model, x, False))
        hidden = [(layer, h) for layer, h in taps.outputs if not any(h is end for end in ends)]
        self.seen = [self.layers.index(layer) for layer, _ in hidden]
        return [self._slopes(layer, h) for layer, h in hidden]

    def _slopes(self, layer, h):
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            h = tf.experimental.numpy.moveaxis(h, 1, -1)
        h = tf.reshape(tf.cast(h, tf.float64), [-1, h.shape[-1]])
        slopes = SLOPES[activation_of(layer)](h)
        flat = tf.reduce_sum(tf.cast(slopes < self.slope, tf.int64), axis=0)
        count = tf.shape(h, tf.int64)[0]
        return count, tf.reduce_sum(slopes, axis=0), flat, tf.reduce_max(slopes, axis=0)

    def _row(self, layer, totals, share):
        count, total, flat, largest = totals
        dead = largest <= 0
        saturated = (flat >= share * count) & ~dead
        return LayerActivity(
            layer.name,
            activation_of(layer),
            len(total),
            tuple(np.flatnonzero(dead).tolist()),
            tuple(np.flatnonzero(saturated).tolist()),
            total / count,
            int(count),
        )


def _joined(one, other):
    *sums, largest = zip(one, other, strict=True)
    return [*(a + b for a, b in sums), np.maximum(*largest)]
