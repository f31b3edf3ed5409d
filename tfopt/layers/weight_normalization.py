"""WeightNormalization: the kernels of a layer as length times direction."""

import inspect

import keras
import tensorflow as tf

from tfopt._check import require, require_flags
from tfopt.layers._weight_normalization import _glue
from tfopt.layers._weight_normalization.data_init import LINEAR, first_batch
from tfopt.layers._weight_normalization.kernels import OnWeight, kernels_of
from tfopt.layers._weight_normalization.substitution import call_with
from tfopt.repair._glue import layers_within


@keras.saving.register_keras_serializable(package="tfopt")
class WeightNormalization(keras.layers.Wrapper):
    """Trains a layer's kernels as a length and a direction for each unit.

    With w the weights that lead into a unit, in place of w the parameters are g and v::

        w = g v / ‖v‖,   ∇_g L = ∇_w L · v / ‖v‖,   ∇_v L = g/‖v‖ ∇_w L − g ∇_g L / ‖v‖² v

    so the step of v is orthogonal to v, and the larger ‖v‖ has grown the smaller it is in effect: training
    steadies itself as with batch normalization, without noise and without ties between samples, which
    recurrent and reinforcement learning need.

    Every kernel of the layer, and of the layers in it, is normalized: weights whose name ends in "kernel",
    and "embeddings". A unit is an output: the last axis of dense, convolution and recurrent kernels, the
    filters of transposed ones, channels × multipliers of depthwise ones, the output's letters of an
    `EinsumDense`, the row of an embedding. The variable of the layer holds v, g is a weight of this wrapper,
    "kernel_g" beside "kernel". At first g = ‖v‖, so wrapping does not change what a layer computes, and one
    that was trained may be wrapped. Regularizers of the kernel act on w.

    With `data_init` the first batch with `training=True` sets the start, in `fit` too, compiled or not (a
    model of your own has to take `training` in its `call`, as for dropout)::

        g = 1 / σ[t],   b = −μ[t] / σ[t],   t = v·x / ‖v‖

    so that each unit has mean 0 and variance 1 before the activation, layer after layer in one pass, over
    the samples and the positions of a convolution. That is done for dense, convolution, transposed,
    depthwise and separable layers (there by the pointwise kernel); others keep g = ‖v‖, for the rule needs
    units that are linear in the input. Units that do not vary keep theirs, and a batch of one sample leaves
    it to the next. Under several replicas or an `AsynchronousTrainer` call the model once on a batch with
    `training=True` before `fit`: each would start from a batch of its own.

    A wrapped recurrent cell computes w at every step, a wrapped recurrent layer once; the wrapper takes a
    cell without dropout only.

    Keras' quantisation and LoRA replace the kernel that a layer computes with. Apply them to the layer that
    `remove` returns; a wrapped layer that has them is refused.

    Args:
        layer: The layer. Do not use it elsewhere: outside the wrapper its kernels are v. One that takes
            several inputs, such as attention, has to be built.
        data_init: Whether to start from the first batch.

    Raises:
        ValueError: When built, if the layer has no kernel, or one with a constraint, which would bind v;
            when called, after `remove`, uninitialized in one of several replicas, or with a layer that has
            been quantised or has LoRA enabled.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> layer = tfopt.layers.WeightNormalization(keras.layers.Dense(3))
        >>> x = np.random.default_rng(0).normal(5.0, 2.0, size=(100, 4)).astype("float32")
        >>> y = layer(x, training=True).numpy()
        >>> bool(np.allclose(y.mean(axis=0), 0, atol=1e-5) and np.allclose(y.std(axis=0), 1, atol=1e-5))
        True
        >>> plain = layer.remove()
        >>> bool(np.allclose(plain(x), y, atol=1e-5))
        True

    Source: Salimans and Kingma, Weight Normalization, 2016, sections 2 and 3; chapter section 10.2.
    """

    def __init__(self, layer, data_init=True, **kwargs):
        if isinstance(layer, keras.layers.Layer):
            kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        require_flags("WeightNormalization", data_init=data_init)
        self.data_init = data_init
        self.supports_masking = layer.supports_masking
        self.normalized = Normalized([])
        self._removed = False
        self.initialized: keras.Variable | None = None
        cells = [cell for cell in getattr(layer, "cells", [layer]) if hasattr(cell, "get_dropout_mask")]
        drops = any(cell.dropout or cell.recurrent_dropout for cell in cells)
        require(not drops, "WeightNormalization", "layer", layer, "a cell without dropout, or the whole RNN")

    def build(self, input_shape=None):
        several = not self.layer.built and _needs_several_shapes(self.layer.build)
        expected = "a layer that has been built, as this one takes several inputs"
        require(not several, "WeightNormalization", "layer", self.layer, expected)
        super().build(input_shape)
        kernels = kernels_of(self.layer)
        require(kernels, "WeightNormalization", "layer", self.layer, "a layer with a kernel or embeddings")
        for kernel in kernels:
            bound = kernel.variable.constraint
            require(bound is None, "WeightNormalization", "layer", self.layer, "kernels without a constraint")
            kernel.g = self._lengths(kernel)
            if kernel.regularizer is not None:
                kernel.variable.regularizer = OnWeight(kernel)
        # An object that Keras does not look into: the layer has these variables already.
        self.normalized = Normalized(kernels)
        if self.data_init and isinstance(self.layer, LINEAR):
            self.initialized = self.add_weight(
                name="initialized", shape=(), dtype="bool", initializer="zeros", trainable=False
            )
            kernels[-1].started = self.initialized

    def _lengths(self, kernel):
        return self.add_weight(
            name=f"{kernel.variable.name}_g",
            shape=kernel.units,
            dtype=kernel.dtype,
            trainable=kernel.variable.trainable,
            initializer=lambda shape, dtype=None: tf.cast(kernel.norms(), dtype),
        )

    def call(self, inputs, *args, training=None, **kwargs):
        if self._removed:
            raise ValueError(
                f"WeightNormalization {self.name!r}: its weights were folded by remove(). Build the model "
                "anew with the layer that returned, as by keras.models.clone_model(model, clone_function=…)."
            )
        if self._has_lost_kernels() or any(map(_is_quantised_or_lora, layers_within(self.layer))):
            raise ValueError(
                f"WeightNormalization {self.name!r}: its layer was quantised or has LoRA enabled, and "
                "computes with v in the place of w. Call remove() before, and do it to what that returns."
            )
        if training and self._may_start():
            self._start_from(inputs, self.initialized)
        values = [(kernel.variable, kernel.weight()) for kernel in self.normalized.kernels]
        output, losses, updates = call_with(values, self.layer, inputs, *args, **kwargs)
        for loss in losses:
            self.add_loss(loss)
        for variable, value in updates:
            variable.assign(value)
        return output

    def _has_lost_kernels(self):
        """Whether the layer has given up a variable that holds v, as quantisation makes it."""
        held = set(map(id, self.layer.variables))
        return any(id(kernel.variable) not in held for kernel in self.normalized.kernels)

    def _may_start(self):
        return self.initialized is not None and self.trainable and self.layer.trainable

    @property
    def starts_from_batch(self):
        """Whether the next batch with `training=True` would set g and b."""
        return self._may_start() and not bool(tf.convert_to_tensor(self.initialized))

    def _start_from(self, inputs, initialized):
        if _glue.stateless_scope() is not None:
            return
        if _is_one_of_several_replicas():
            with tf.init_scope():
                done = bool(initialized.numpy())
            if not done:
                raise ValueError(
                    f"WeightNormalization {self.name!r}: every replica would start from a batch of its own. "
                    "Call model(batch, training=True) once before fit, or pass data_init=False."
                )
            return
        first_batch(self.layer, self.normalized.kernels, initialized, inputs)

    @property
    def kernels(self):
        """The weights w as the layer uses them, in the order in which it has them."""
        require(self.built, "WeightNormalization.kernels", "built", self.built, "a layer that has been built")
        return [kernel.weight() for kernel in self.normalized.kernels]

    def remove(self):
        """Fold g v/‖v‖ into the layer's kernels and return the layer, which computes the same on its own.

        In a model put it in the wrapper's place, for instance by::

            keras.models.clone_model(
                model, clone_function=lambda layer: layer.remove() if hasattr(layer, "remove") else layer
            )

        Returns:
            The wrapped layer, built; its kernels are w and its regularizers its own again. The wrapper cannot
            be called any more.

        Raises:
            ValueError: If it is not built, or the layer was quantised before.
        """
        owner = "WeightNormalization.remove"
        require(self.built, owner, "built", self.built, "a layer that has been built")
        if not self._removed:
            expected = "a layer that is not quantised yet"
            require(not self._has_lost_kernels(), owner, "layer", self.layer, expected)
            for kernel in self.normalized.kernels:
                # With g = ‖w‖ functions traced before, such as a model's predict, go on to compute with w.
                kernel.assign(kernel.weight())
                kernel.variable.regularizer = kernel.regularizer
            self._removed = True
        return self.layer

    def compute_output_spec(self, inputs, *args, training=None, **kwargs):
        return self.layer.compute_output_spec(inputs, *args, **kwargs)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs, previous_mask=None):
        return self.layer.compute_mask(inputs, previous_mask)

    @property
    def state_size(self):
        """Of a wrapped cell."""
        return self.layer.state_size

    @property
    def output_size(self):
        """Of a wrapped cell."""
        return self.layer.output_size

    @property
    def get_initial_state(self):
        """Of a wrapped cell."""
        return self.layer.get_initial_state

    def get_build_config(self):
        if not self.built:
            return None
        return {**(super().get_build_config() or {}), "layer": self.layer.get_build_config()}

    def build_from_config(self, config):
        if not self.layer.built and config["layer"]:
            self.layer.build_from_config(config["layer"])
        self.build(config.get("input_shape"))

    def get_config(self):
        return super().get_config() | {"data_init": self.data_init}


def _needs_several_shapes(build):
    shapes = inspect.signature(build).parameters.values()
    return (
        sum(shape.default is shape.empty and shape.kind == shape.POSITIONAL_OR_KEYWORD for shape in shapes)
        > 1
    )


def _is_quantised_or_lora(layer):
    return layer.quantization_mode is not None or getattr(layer, "lora_enabled", False)


def _is_one_of_several_replicas():
    replica = tf.distribute.get_replica_context()
    return replica is not None and replica.num_replicas_in_sync > 1


class Normalized:
    """The kernels of a wrapped layer."""

    def __init__(self, kernels):
        self.kernels = kernels


def kernels_within(model):
    """{id of the variable that holds v: `Kernel`} of all weight-normalised layers of a model."""
    wrappers = [layer for layer in layers_within(model) if isinstance(layer, WeightNormalization)]
    return {id(kernel.variable): kernel for layer in wrappers for kernel in layer.normalized.kernels}
