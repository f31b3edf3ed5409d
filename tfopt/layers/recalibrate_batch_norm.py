"""recalibrate_batch_norm: running statistics measured anew."""

import contextlib

import keras
import tensorflow as tf

from tfopt._batches import is_dataset, reader
from tfopt._check import require, require_integer
from tfopt.layers._layer import expanded, scale_and_offset, to_floating
from tfopt.layers._normalize import normalize, wide
from tfopt.layers._statistics import Region
from tfopt.layers.batch_normalization import BatchNormalization, shared_axes
from tfopt.repair._glue import layers_within

OWNER = "recalibrate_batch_norm"


def recalibrate_batch_norm(model, data, *, batch_size=32, one_by_one=False):
    """Measure the running statistics of all batch normalisation layers of a model anew, on given data.

    For weights that the running statistics do not belong to, such as averaged ones, or for data of another
    domain. With N the number of elements of all batches b that a layer sees, n_b in each::

        moving_mean = Σ n_b μ_b / N      moving_variance = Σ n_b (σ_b² + μ_b²) / N − moving_mean²

    which is the mean and the variance of all that came into the layer, whatever the batches' sizes. While
    they are measured the layers normalise by each batch's own statistics; all other layers run as at
    inference, without dropout. So what a layer behind another one sees depends on how the data fall into
    batches, the less the larger they are. With `one_by_one` it does not: the layers are measured in the order
    they are called, each in a pass of its own, those before it with their new statistics.

    Layers of tfopt and of Keras are measured alike, in models nested within the model and in wrappers too,
    frozen ones as well. Weights, optimizer and metrics are left as they are.

    Args:
        model: A built Keras model, or a layer, that holds at least one batch normalisation layer.
        data: Inputs as an array or a nest of arrays, or a finite, batched `tf.data.Dataset` or
            `keras.utils.PyDataset`, whose batches are inputs or tuples (inputs, …) of which only the inputs
            are used.
        batch_size: Samples per batch of arrays, at least 1.
        one_by_one: Whether each layer has a pass over the data of its own.

    Raises:
        ValueError: If there is no layer to measure, one is not built or normalises anew (Keras' ``renorm``),
            an argument lies outside its range, or the data are empty or have no end.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
        >>> tfopt.layers.recalibrate_batch_norm(model, np.array([[1.0], [3.0], [5.0]]), batch_size=2)
        >>> [round(float(w[0]), 4) for w in model.get_weights()[2:]]
        [3.0, 2.6667]

    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3; chapter section 10.1.5.
    """
    layers = _layers_of(model)
    batches = _Batches(data, batch_size)
    called = _measure(model, batches, layers)
    for layer in called[1:] if one_by_one else ():  # nothing is normalised before the first
        _measure(model, batches, [layer])


class _Batches:
    """The inputs of the data, batch by batch, as often as they are asked for."""

    def __init__(self, data, batch_size):
        self.data = data
        if is_dataset(data):
            read = reader(OWNER, "data", data)
            self._inputs = lambda: map(_first_of, read())
        else:
            require_integer(OWNER, 1, batch_size=batch_size)
            _require_arrays(data)
            self._inputs = lambda: _slices(data, batch_size)

    def __iter__(self):
        for inputs in self._inputs():
            yield tf.nest.map_structure(tf.convert_to_tensor, inputs)


def _require_arrays(data):
    """Require a nest of arrays of equally many samples."""
    shapes: list[tuple] = [getattr(array, "shape", ()) for array in tf.nest.flatten(data)]
    fits = shapes and all(len(shape) > 0 for shape in shapes) and len({shape[0] for shape in shapes}) == 1
    expected = "an array, a nest of arrays of equally many samples, a tf.data.Dataset or a PyDataset"
    require(fits, OWNER, "data", data, expected)


def _slices(data, batch_size):
    """A nest of arrays, so many samples at a time."""
    batches = tf.data.Dataset.from_tensor_slices(tuple(tf.nest.flatten(data))).batch(batch_size)
    return (tf.nest.pack_sequence_as(data, batch) for batch in batches)


def _first_of(batch):
    """The inputs of a batch (inputs, …)."""
    return keras.utils.unpack_x_y_sample_weight(batch)[0]


class _Meter:
    """Stands in for a layer's `call`: normalises by the batch and adds up what came in.

    Sums are float64.
    """

    def __init__(self, layer, called):
        self.layer = layer
        self.called = called
        shape = layer.moving_mean.shape
        self.count, self.sum, self.squares = (tf.Variable(tf.zeros(shape, tf.float64)) for _ in range(3))
        self.batches = tf.Variable(0.0, dtype=tf.float64)

    def __call__(self, inputs, training=None, mask=None):
        layer = self.layer
        if layer not in self.called:
            self.called.append(layer)
        x = to_floating(inputs, layer.compute_dtype)
        axis = layer.axis % x.shape.rank
        own = range(1, x.shape.rank) if getattr(layer, "per", "channel") == "unit" else [axis]
        axes, view = shared_axes(x.shape, own)
        region = Region(axes, expanded(type(layer).__name__, mask, x.shape.rank, axis))
        gamma, beta = scale_and_offset(layer, view, wide(x).dtype)
        y, measured = normalize(x, gamma, beta, region, layer.epsilon)
        self.add(measured)
        return tf.cast(y, layer.compute_dtype)

    def add(self, measured):
        """Count a batch's statistics."""
        shape = tf.shape(measured.mean)
        mean, variance, count = (
            tf.reshape(tf.cast(tf.broadcast_to(part, shape), tf.float64), self.sum.shape) for part in measured
        )
        self.count.assign_add(count)
        self.sum.assign_add(count * mean)
        self.squares.assign_add(count * (variance + tf.square(mean)))
        self.batches.assign_add(1.0)

    def hand_over(self):
        """Give the layer its statistics; those behind which there is no element stay as they are."""
        share = 1.0 / tf.maximum(self.count, 1.0)
        mean = self.sum * share
        variance = tf.maximum(self.squares * share - tf.square(mean), 0.0)
        new = {"moving_mean": mean, "moving_variance": variance}
        if getattr(self.layer, "batches", None) is not None:
            new["batches"] = tf.fill(self.count.shape, self.batches)
        for name, value in new.items():
            weight = getattr(self.layer, name)
            weight.assign(tf.where(self.count > 0.0, tf.cast(value, weight.dtype), weight.value))


def _layers_of(model):
    """The batch normalisation layers of a model, each once, checked."""
    kinds = (BatchNormalization, keras.layers.BatchNormalization)
    found = {id(layer): layer for layer in layers_within(model) if isinstance(layer, kinds)}
    layers = list(found.values())
    expected = "a built model with batch normalisation layers, none with renorm=True"
    fits = [layer.moving_mean is not None and not getattr(layer, "renorm", False) for layer in layers]
    require(layers and all(fits), OWNER, "model", model, expected)
    return layers


def _measure(model, batches, layers):
    """Measure some layers in one pass over the data; returns those that were called, in their order."""
    called: list = []
    meters = [_Meter(layer, called) for layer in layers]
    run = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True, autograph=False)
    with _standing_in(meters):
        seen = sum(1 for inputs in batches if run(inputs) is not None)
    require(seen, OWNER, "data", batches.data, "at least one batch")
    for meter in meters:
        meter.hand_over()
    return called


@contextlib.contextmanager
def _standing_in(meters):
    """Each meter in the place of its layer's `call`."""
    try:
        for meter in meters:
            meter.layer.call = meter
        yield
    finally:
        for meter in meters:
            del meter.layer.call
