"""InstanceNormalization: each channel of each sample by its own mean and variance."""

import keras

from tfopt._check import require, require_choice
from tfopt.layers._grouped import GroupedLayer
from tfopt.layers._layer import integral_axis


@keras.saving.register_keras_serializable(package="tfopt")
class InstanceNormalization(GroupedLayer):
    """Instance normalisation: each channel of every sample by its own mean and variance.

    For each sample and channel i, with sums over the H × W positions (or those of one or three axes)::

        μᵢ = ΣXᵢ/HW      σᵢ² = Σ(Xᵢ − μᵢ)²/HW      Yᵢ = γ (Xᵢ − μᵢ)/√(σᵢ² + ε) + β

    The answer for a sample depends neither on the other samples nor on their number. Statistics are float32
    for float16 and bfloat16 inputs, and right for inputs far from zero as well as for constant ones. First
    derivatives follow the chapter's formulas and keep no more than the inputs and the statistics; derivatives
    of every order are right. Positions that a Keras mask leaves out do not count, and come out as β.

    Args:
        axis: Axis of the channels, not the first: −1 for channels last, 1 for channels first.
        scale_shape: Shape of γ and β: "channel", C, or "element", one for each channel and position, in the
            order of the input's axes, as in the chapter; the lengths of positions must be known for it.
        epsilon: ε >= 0, in squared units of the inputs.
        center: Whether there is β.
        scale: Whether there is γ.
        fused: Whether fused kernels serve in training where there are any, as `tfopt.kernels.status` says. At
            inference TensorFlow's own operations do, so that an exported model needs nothing of tfopt.
        **options: `beta_initializer`, `gamma_initializer`, `beta_regularizer`, `gamma_regularizer`,
            `beta_constraint` and `gamma_constraint` as in Keras' other normalisation layers; `name`, `dtype`
            and `trainable` as in every layer.

    Raises:
        ValueError: If an argument lies outside its range or does not fit the inputs.

    Input and output: tensors of one shape, of three axes or more; the output has the layer's compute dtype.

    Example:
        >>> import numpy as np, tfopt
        >>> layer = tfopt.layers.InstanceNormalization(epsilon=1e-12)
        >>> np.round(layer(np.array([[[1.0, 30.0], [3.0, 10.0]]])), 3).tolist()  # 2 positions, 2 channels
        [[[-1.0, 1.0], [1.0, -1.0]]]

    Source: Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016; chapter section 10.2.2.
    """

    arguments = ("axis", "scale_shape")

    def __init__(self, axis=-1, scale_shape="channel", **options):
        super().__init__(**options)
        require_choice("InstanceNormalization", ("channel", "element"), scale_shape=scale_shape)
        self.axis = integral_axis("InstanceNormalization", axis)
        self.scale_shape = scale_shape

    def build(self, input_shape):
        expected = "at least one axis of positions beside samples and channels"
        require(len(input_shape) > 2, "InstanceNormalization", "input_shape", tuple(input_shape), expected)
        super().build(input_shape)

    def groups_of(self, channels):
        """Each channel by itself."""
        return channels
