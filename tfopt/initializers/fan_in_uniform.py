"""FanInUniform: weights from U(−√(1/m), √(1/m))."""

import math

import keras

from tfopt.initializers._fans import fan_in
from tfopt.initializers._seeded import KernelInitializer


@keras.saving.register_keras_serializable(package="tfopt")
class FanInUniform(KernelInitializer):
    """Uniform weights whose range shrinks with the number of inputs of a unit.

    With m the number of weights that lead into one unit::

        W_ij ~ U(−√(1/m), √(1/m)),   so E W = 0 and Var W = 1 / (3m)

    Differs from Keras: `LecunUniform` draws from U(±√(3/m)), three times the variance, which keeps the
    variance of the inputs through a linear layer; this one lowers it to a third. `GlorotUniform` is in Keras.

    Args:
        input_axes: Axes of the kernel that lead into one unit; None for all but the last, right for dense,
            convolution and recurrent kernels. A depthwise kernel of (height, width, channels, multiplier)
            takes (0, 1), a transposed convolution's of (height, width, filters, channels) (0, 1, 3).
        seed: Integer or None: the same numbers at every call. A `keras.random.SeedGenerator`: new ones.

    Raises:
        ValueError: If `input_axes` are not axes, or `seed` is none of these.

    Example:
        >>> import keras, tfopt
        >>> initializer = tfopt.initializers.FanInUniform(seed=0)
        >>> kernel = keras.ops.convert_to_numpy(initializer((25, 400)))
        >>> bool(abs(kernel).max() <= 0.2), round(float(kernel.std()), 2)  # √(1/25) and 0.2/√3
        (True, 0.12)
        >>> layer = keras.layers.Dense(10, kernel_initializer=initializer)

    Source: Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks,
    2010, equation 1; chapter section 9.1.
    """

    def __init__(self, input_axes=None, seed=None):
        super().__init__(input_axes, seed)

    def __call__(self, shape, dtype=None):
        limit = math.sqrt(1 / max(1, fan_in("FanInUniform", shape, self.input_axes)))
        return keras.random.uniform(shape, minval=-limit, maxval=limit, dtype=dtype, seed=self.seed)
