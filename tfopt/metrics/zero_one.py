"""The 0-1 error as a metric."""

import keras

from tfopt.losses._zero_one_errors import require_labels, zero_one_errors
from tfopt.metrics._glue import prefer_low


# A name of its own: the loss is registered as ZeroOne.
@keras.saving.register_keras_serializable(package="tfopt", name="ZeroOneMetric")
class ZeroOne(keras.metrics.MeanMetricWrapper):
    """The 0-1 error: the share of wrong decisions, weighted by `sample_weight`.

        error = Σ w_i [y_i ≠ decision(ŷ_i)] / Σ w_i

    It is 1 minus the accuracy, on the labels that `tfopt.losses.ZeroOne` takes. Callbacks that choose their
    mode by themselves know that it is to be made small.

    Args:
        labels: "auto", "sparse", "one_hot" or "binary", as in `tfopt.losses.ZeroOne`.
        threshold: For binary labels: 0.5 for probabilities, 0 for logits.
        name: Name of the metric.
        dtype: Of the result.

    Raises:
        ValueError: If an argument is none of these.

    Example:
        >>> import tfopt
        >>> error = tfopt.metrics.ZeroOne()
        >>> error.update_state([0, 1, 1, 0], [[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [1.0, 0.0]])
        >>> float(error.result())
        0.25

    Source: chapter section 1.2.
    """

    def __init__(self, labels="auto", threshold=0.5, name="zero_one", dtype=None):
        require_labels("ZeroOne", labels, threshold)
        super().__init__(zero_one_errors, name=name, dtype=dtype, labels=labels, threshold=threshold)
        self.labels = labels
        self.threshold = threshold
        prefer_low(self)

    def get_config(self):
        """Constructor arguments, complete."""
        return {
            "labels": self.labels,
            "threshold": self.threshold,
            "name": self.name,
            "dtype": self.dtype,
        }
