"""GroupNormalization: each sample by the mean and variance of groups of its channels."""

import keras

from tfopt._check import is_integer, require, require_choice
from tfopt.layers._grouped import GroupedLayer, require_divisor
from tfopt.layers._layer import integral_axis


@keras.saving.register_keras_serializable(package="tfopt")
class GroupNormalization(GroupedLayer):
    """Group normalisation: every sample by the mean and variance of each group of its channels.

    The C channels fall into G = `groups` groups of C/G neighbours. For each sample and group i, with sums
    over the group's channels and all positions, n elements in all::

        μᵢ = ΣX/n      σᵢ² = Σ(X − μᵢ)²/n      Y = γ (X − μᵢ)/√(σᵢ² + ε) + β

    G = 1 is layer normalisation over channels and positions, G = C instance normalisation. The answer for a
    sample depends neither on the other samples nor on their number. Statistics are float32 for float16 and
    bfloat16 inputs, and right for inputs far from zero as well as for constant ones. First derivatives follow
    the chapter's formulas and keep no more than the inputs and the statistics; derivatives of every order are
    right. Elements that a Keras mask leaves out do not count, and come out as β.

    Differs from Keras: second derivatives are right, γ has a choice of shapes, masks count.

    Args:
        groups: G, a divisor of the number of channels; −1 takes each channel by itself.
        axis: Axis of the channels, not the first: −1 for channels last, 1 for channels first.
        scale_shape: Shape of γ and β: "channel", C, as in the paper; "group", G; "element", one for each
            channel and position; "group_element", one for each group and position, as in the chapter. Axes
            stand in the order of the input's; the lengths of positions must be known for the last two.
        epsilon: ε >= 0, in squared units of the inputs.
        center: Whether there is β.
        scale: Whether there is γ.
        fused: Whether fused kernels serve in training where there are any, as `tfopt.kernels.status` says. At
            inference TensorFlow's own operations do, so that an exported model needs nothing of tfopt.
        **options: `beta_initializer`, `gamma_initializer`, `beta_regularizer`, `gamma_regularizer`,
            `beta_constraint` and `gamma_constraint` as in Keras' layer; `name`, `dtype` and `trainable` as in
            every layer.

    Raises:
        ValueError: If an argument lies outside its range or does not fit the inputs.

    Input and output: tensors of one shape, of two axes or more; the output has the layer's compute dtype.

    Example:
        >>> import numpy as np, tfopt
        >>> layer = tfopt.layers.GroupNormalization(groups=2, epsilon=1e-12)
        >>> np.round(layer(np.array([[1.0, 3.0, 10.0, 30.0]])), 3).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    Source: Wu and He, Group Normalization, 2018; chapter section 10.2.3.
    """

    arguments = ("groups", "axis", "scale_shape")

    def __init__(self, groups=32, axis=-1, scale_shape="channel", **options):
        super().__init__(**options)
        owner = "GroupNormalization"
        fits = is_integer(groups) and (groups > 0 or groups == -1)
        require(fits, owner, "groups", groups, "an integer above 0, or -1")
        shapes = ("channel", "group", "element", "group_element")
        require_choice(owner, shapes, scale_shape=scale_shape)
        self.groups = int(groups)
        self.axis = integral_axis(owner, axis)
        self.scale_shape = scale_shape

    def groups_of(self, channels):
        """The argument, checked against the channels."""
        if self.groups == -1:
            return channels
        require_divisor("GroupNormalization", self.groups, channels)
        return self.groups
