"""The 0-1 loss: what a classifier is meant to make small, and cannot be trained on."""

import keras

from tfopt.losses._zero_one_errors import require_labels, zero_one_errors


@keras.saving.register_keras_serializable(package="tfopt")
class ZeroOne(keras.losses.Loss):
    """The 0-1 loss: 1 for each wrong decision, 0 for each right one; its mean is the error rate.

        L(y, ŷ) = 0 if y = decision(ŷ), else 1

    Its derivative is 0 wherever it exists, so no gradient comes out of it, and Keras' fit says so. Use it as
    the `value` of `tfopt.losses.Surrogate`, as the loss of an evaluation, or see `tfopt.metrics.ZeroOne`.
    A prediction that holds a NaN counts as wrong; of equal scores the first class is the decision.

    Shapes, which tell what the labels are unless `labels` says it:

    * "sparse": scores [batch, …, classes], labels [batch, …] or [batch, …, 1] with numbers of classes;
    * "one_hot": scores and labels [batch, …, classes];
    * "binary": scores and labels [batch, …], a last axis of 1 or none; a label above 0.5 is positive (so
      0 and 1, or −1 and 1), a prediction above `threshold` is. Say "binary" for several decisions per
      sample (multi-label), each of which then counts by itself.

    Args:
        labels: "auto", "sparse", "one_hot" or "binary".
        threshold: For binary labels: 0.5 for probabilities, 0 for logits.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Of the computation.

    Raises:
        ValueError: If an argument is none of these.

    Example:
        >>> import tfopt
        >>> float(tfopt.losses.ZeroOne()([0, 1, 1, 0], [[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [1.0, 0.0]]))
        0.25

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.1.2; chapter section 1.2.
    """

    def __init__(
        self, labels="auto", threshold=0.5, reduction="sum_over_batch_size", name="zero_one", dtype=None
    ):
        require_labels("ZeroOne", labels, threshold)
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.labels = labels
        self.threshold = threshold

    def call(self, y_true, y_pred):
        """1 or 0 for each decision."""
        return zero_one_errors(y_true, y_pred, self.labels, self.threshold)

    def get_config(self):
        own = {"labels": self.labels, "threshold": self.threshold, "dtype": self.dtype}
        return super().get_config() | own
