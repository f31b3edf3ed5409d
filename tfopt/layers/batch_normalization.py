"""BatchNormalization: each channel or unit by the mean and variance of the batch."""

from typing import Any

import keras
import tensorflow as tf

from tfopt._check import require_choice, require_flags, require_fraction
from tfopt.layers._layer import (
    INITIAL,
    NormalizationLayer,
    expanded,
    integral_axis,
    known_lengths,
    positive_axis,
    scale_and_offset,
    to_floating,
)
from tfopt.layers._normalize import forward, normalize, wide
from tfopt.layers._statistics import Region, Statistics


@keras.saving.register_keras_serializable(package="tfopt")
class BatchNormalization(NormalizationLayer):
    """Batch normalisation: every channel, or every unit, by its mean and variance over the batch.

    In training, with sums over the samples, and for ``per="channel"`` over all positions too, n in all::

        μ = Σh/n      σ² = Σ(h − μ)²/n      y = γ ⊙ (h − μ)/√(σ² + ε) + β

    At inference, and in training while ``trainable`` is False, running statistics take the place of μ and σ²,
    so that one sample is enough. They start at 0 and 1 and follow the batches by

        moving ← moving + r (batch − moving),      r = 1 − momentum, or 1/t in the t-th batch for None

    of which a batch without a single element changes nothing. With several replicas the running statistics
    are the mean over the replicas' batches, the same on each; with `synchronized` the batch itself is that of
    all replicas, in training and in the gradient. As replicas meet in it, the layer then cannot stand within
    a loop or branch, such as a recurrent cell. Scaling the weights before the layer by λ leaves the output as
    it is, up to ε, and divides their gradient by λ; a bias before the layer does nothing.

    Statistics are float32 for float16 and bfloat16 inputs, and right for inputs far from zero as well as for
    constant ones. First derivatives follow the chapter's formulas and keep no more than the inputs and the
    statistics; derivatives of every order are right. Elements that a Keras mask leaves out do not count, and
    come out as β.

    The weights are gamma, beta, moving_mean and moving_variance, in Keras' order, and for ``momentum=None``
    a fifth, the number of batches behind each statistic: `get_weights` and `set_weights` go from and to
    `keras.layers.BatchNormalization`.

    Differs from Keras: second derivatives are right; running statistics of replicas do not drift apart, and
    are at least float32; statistics over replicas do not lose digits to a large mean; no renormalisation.

    Args:
        axis: Axis of the channels: −1 for channels last, 1 for channels first. Of no effect per unit.
        momentum: 0 <= momentum < 1; None weighs all batches since the start alike.
        per: "channel" shares statistics, γ and β between positions; "unit" has them for every element of a
            sample, whose shape must then be known.
        synchronized: Whether the replicas of a strategy normalise as one batch.
        epsilon: ε >= 0, in squared units of the inputs.
        center: Whether there is β.
        scale: Whether there is γ.
        fused: Whether fused kernels serve in training where there are any, as `tfopt.kernels.status` says. At
            inference TensorFlow's own operations do, so that an exported model needs nothing of tfopt.
        **options: `beta_initializer`, `gamma_initializer`, `moving_mean_initializer`,
            `moving_variance_initializer`, `beta_regularizer`, `gamma_regularizer`, `beta_constraint` and
            `gamma_constraint` as in Keras' layer; `name`, `dtype` and `trainable` as in every layer.

    Raises:
        ValueError: If an argument lies outside its range or does not fit the inputs.

    Input and output: tensors of one shape, of two axes or more; the output has the layer's compute dtype.

    Example:
        >>> import numpy as np, tfopt
        >>> layer = tfopt.layers.BatchNormalization(momentum=None, epsilon=1e-12)
        >>> np.round(layer(np.array([[1.0], [3.0]]), training=True), 3).tolist()
        [[-1.0], [1.0]]
        >>> np.round(layer(np.array([[2.5]])), 3).tolist()  # one sample, by the running statistics
        [[0.5]]

    Source: Ioffe and Szegedy, Batch Normalization, 2015; chapter section 10.1.
    """

    arguments = ("axis", "momentum", "per", "synchronized")
    parts = (*NormalizationLayer.parts, "moving_mean_initializer", "moving_variance_initializer")
    initial = INITIAL | {"moving_mean_initializer": "zeros", "moving_variance_initializer": "ones"}

    def __init__(self, axis=-1, momentum=0.99, per="channel", synchronized=False, **options):
        super().__init__(**options)
        owner = "BatchNormalization"
        if momentum is not None:
            require_fraction(owner, momentum=momentum)
        require_choice(owner, ("channel", "unit"), per=per)
        require_flags(owner, synchronized=synchronized)
        self.axis = integral_axis(owner, axis)
        self.momentum = momentum
        self.per = per
        self.synchronized = synchronized
        self.moving_mean: Any = None
        self.moving_variance: Any = None
        self.batches: Any = None

    def build(self, input_shape):
        owner, rank = "BatchNormalization", len(input_shape)
        self.channel_axis = positive_axis(owner, self.axis, rank)
        own = range(1, rank) if self.per == "unit" else [self.channel_axis]
        shape = known_lengths(owner, input_shape, own)
        self.axes, self.view = shared_axes(input_shape, own)
        self.input_spec = keras.InputSpec(ndim=rank, axes=dict(zip(own, shape, strict=True)))
        self.add_scale_and_offset(shape)
        self.moving_mean = self._add_running("moving_mean", shape, self.moving_mean_initializer)
        self.moving_variance = self._add_running("moving_variance", shape, self.moving_variance_initializer)
        if self.momentum is None:
            self.batches = self._add_running("batches", shape, "zeros")

    def call(self, inputs, training=None, mask=None):
        x = to_floating(inputs, self.compute_dtype)
        gamma, beta = scale_and_offset(self, self.view, wide(x).dtype)
        mask = expanded("BatchNormalization", mask, x.shape.rank, self.channel_axis)
        region = Region(self.axes, mask, self.synchronized)
        if training and self.trainable:
            y, measured = normalize(x, gamma, beta, region, self.epsilon, self.fused)
            self._follow(measured)
        else:
            y = forward(x, gamma, beta, region, self.epsilon, self._running(gamma.dtype))
        return tf.cast(y, self.compute_dtype)

    def _add_running(self, name, shape, initializer):
        half = self.variable_dtype in ("float16", "bfloat16")
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32" if half else self.variable_dtype,
            trainable=False,
            autocast=False,
            aggregation="mean",
        )

    def _running(self, dtype):
        """The running statistics in the place of a batch's."""
        mean, variance = (
            tf.reshape(tf.cast(moving.value, dtype), self.view)
            for moving in (self.moving_mean, self.moving_variance)
        )
        return Statistics(mean, variance, tf.ones([], dtype))

    def _follow(self, measured):
        """Let the running statistics follow a batch's."""
        shape, dtype = self.moving_mean.shape, self.moving_mean.dtype
        mean, variance = (
            tf.reshape(tf.cast(batch, dtype), shape) for batch in (measured.mean, measured.variance)
        )
        count = tf.broadcast_to(measured.count, tf.shape(measured.mean))
        counted = tf.cast(tf.reshape(count, shape) > 0, dtype)
        if self.momentum is None:
            self.batches.assign_add(counted)
            rate = counted / tf.maximum(self.batches.value, 1.0)
        else:
            rate = counted * (1.0 - self.momentum)
        self.moving_mean.assign_add(rate * (mean - self.moving_mean.value))
        self.moving_variance.assign_add(rate * (variance - self.moving_variance.value))


def shared_axes(input_shape, own):
    """The axes that share statistics, and the statistics' shape, if each index along `own` has its own."""
    axes = tuple(axis for axis in range(len(input_shape)) if axis not in own)
    return axes, [1 if axis in axes else length for axis, length in enumerate(input_shape)]
