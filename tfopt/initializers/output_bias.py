"""OutputBias: output units that start at the marginal statistics of the targets."""

import keras
import numpy as np

from tfopt._check import require, require_positive
from tfopt.initializers import _marginals


@keras.saving.register_keras_serializable(package="tfopt")
class OutputBias(keras.initializers.Initializer):
    """Bias of the output layer from the targets: with small weights the model starts at their marginals.

    While the weights are small the bias decides the output alone. With n_c the number of samples of class c
    among N, n¹ and n⁰ the numbers of those that are and are not in a class, ȳ the mean of a target::

        softmax:      b_c = log(n_c / N)       so that the output is n_c / N
        sigmoid:      b = log(n¹ / n⁰)         so that the output is n¹ / N
        linear:       b = ȳ

    The first steps are then not spent on learning how frequent the classes are, which matters most where
    they are unequal.

    A class that never occurs would get b = −∞. It is counted as `unseen` of a sample instead, as is the
    outcome of a sigmoid that never occurs; the other classes keep their ratios. A softmax may have more units
    than there are classes in `y`: those, too, are classes never seen.

    Where `activation` is None, rows that add up to 1 (one-hot) mean softmax, other targets of nothing but 0
    and 1 sigmoid, other integers labels of a softmax, anything else linear. Regression targets that are
    integers therefore need `activation="linear"`, labels stored as floating point "softmax", and labels 0
    and 1 of a softmax with two units "softmax".

    Args:
        y: Targets: labels 0, 1, … of shape (n,), (n, 1) or of more axes, one for each pixel; one-hot or soft
            labels of (n, …, classes); 0 and 1 of (n,) or (n, units); or numbers of (n,) or (n, units).
        activation: "softmax", "sigmoid", "linear" of the output layer (or of the loss, with from_logits), or
            None to tell by `y`.
        counts: In place of `y`: samples of each class, of (classes,), for softmax; (no, yes) or rows of
            those, one for each unit, for sigmoid. Need not be integers.
        unseen: Share of a sample > 0 that a class counts for which never occurs; 0.5 by default, which is
            less than any class that does.

    Raises:
        ValueError: If `y` and `counts` are both given or both missing, or fit no activation; when called, if
            the shape is not that of a bias with a unit for each class.

    Example:
        >>> import numpy as np, keras, tfopt
        >>> labels = np.array([0, 0, 0, 2])
        >>> layer = keras.layers.Dense(
        ...     3, "softmax", kernel_initializer="zeros",
        ...     bias_initializer=tfopt.initializers.OutputBias(labels))
        >>> print(layer(np.ones((1, 2))).numpy().round(2))  # class 1 counts as half a sample
        [[0.67 0.11 0.22]]

    Source: Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4; chapter section 9.2.
    """

    def __init__(self, y=None, activation=None, counts=None, unseen=0.5):
        one = (y is None) != (counts is None)
        require(one, "OutputBias", "counts", counts, "either targets y or the counts of the classes")
        require_positive("OutputBias", unseen=unseen)
        known = (
            _marginals.of_targets(y, activation)
            if counts is None
            else _marginals.of_counts(counts, activation)
        )
        self.activation, self.statistics = known
        self.unseen = unseen

    def __call__(self, shape, dtype=None):
        require(len(shape) == 1, "OutputBias", "shape", tuple(shape), "a bias' shape, of one axis")
        bias = {"softmax": self._softmax, "sigmoid": self._sigmoid, "linear": self._linear}
        return keras.ops.convert_to_tensor(
            bias[self.activation](shape[0]), dtype=keras.backend.standardize_dtype(dtype)
        )

    def _softmax(self, units):
        classes = len(self.statistics)
        self._require_units(classes <= units, units, f"at least {classes}, the number of classes")
        counts = self._seen(np.pad(self.statistics, (0, units - classes)))
        return np.log(counts / counts.sum())

    def _sigmoid(self, units):
        self._require_units(len(self.statistics) == units, units, f"{len(self.statistics)}")
        no, yes = self._seen(self.statistics).T
        return np.log(yes / no)

    def _linear(self, units):
        self._require_units(len(self.statistics) == units, units, f"{len(self.statistics)}")
        return self.statistics

    def _seen(self, counts):
        return np.where(counts > 0, counts, self.unseen)

    def _require_units(self, fits, units, expected):
        owner = f"OutputBias(activation={self.activation!r})"
        if not fits:
            raise ValueError(f"{owner}: expected units={expected}, by the targets, got a bias of {units}.")

    def get_config(self):
        """The statistics in the targets' place, which need not be kept."""
        linear = self.activation == "linear"
        return {
            "y": [self.statistics.tolist()] if linear else None,
            "activation": self.activation,
            "counts": None if linear else self.statistics.tolist(),
            "unseen": self.unseen,
        }
