"""Metrics that are sums over batches, and those that are not."""

import keras
import numpy as np
import pytest

from tfopt.distribute._additive import not_additive, require_additive

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(10, 4)).astype("float32")
BINARY = (X.sum(1, keepdims=True) > 0).astype("float32")
ONE_HOT = np.eye(3, dtype="float32")[np.arange(10) % 3]

ON_BINARY = (
    *(
        "AUC",
        "BinaryAccuracy",
        "BinaryCrossentropy",
        "BinaryIoU",
        "FalseNegatives",
        "FalsePositives",
        "Hinge",
    ),
    *("LogCoshError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError", "Poisson"),
    *("MeanSquaredLogarithmicError", "Precision", "R2Score", "Recall", "RootMeanSquaredError"),
    *("SquaredHinge", "TrueNegatives", "TruePositives"),
    ("PrecisionAtRecall", {"recall": 0.5}),
    ("RecallAtPrecision", {"precision": 0.5}),
    ("SensitivityAtSpecificity", {"specificity": 0.5}),
    ("SpecificityAtSensitivity", {"sensitivity": 0.5}),
)
ON_CLASSES = (
    *("CategoricalAccuracy", "CategoricalCrossentropy", "CategoricalHinge", "CosineSimilarity", "F1Score"),
    *("FBetaScore", "KLDivergence", "TopKCategoricalAccuracy", "PearsonCorrelation"),
    *("ConcordanceCorrelation",),
    ("OneHotMeanIoU", {"num_classes": 3}),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [0, 1]}),
)


def compiled(*metrics, units=1, kind=keras.Sequential):
    keras.utils.set_random_seed(0)
    activation = "sigmoid" if units == 1 else "softmax"
    model = kind([keras.Input((4,)), keras.layers.Dense(units, activation)])
    loss = "binary_crossentropy" if units == 1 else "categorical_crossentropy"
    model.compile("sgd", loss, metrics=list(metrics))
    y = BINARY if units == 1 else ONE_HOT
    model.test_on_batch(X, y)
    return model, (X, y)


@pytest.mark.parametrize(("units", "rows"), [(1, ON_BINARY), (3, ON_CLASSES)], ids=["binary", "classes"])
def test_keras_own_metrics_are_sums(units, rows):
    """So that they need no look at a batch."""
    named = [(row, {}) if isinstance(row, str) else row for row in rows]
    made = [getattr(keras.metrics, name)(**options) for name, options in named]
    model, batch = compiled(*made, units=units)
    assert not_additive(model, batch) == []
    require_additive("owner", model, None)


class Kept(keras.metrics.Metric):
    """A metric of the user's own that keeps what `keep` makes of its state and of the predictions' sum."""

    def __init__(self, keep, initial="zeros", dtype="float32"):
        super().__init__(name="kept")
        self.keep = keep
        self.value = self.add_variable((), initial, dtype=dtype, name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        total = keras.ops.cast(keras.ops.sum(y_pred), self.value.dtype)
        self.value.assign(self.keep(self.value, total))

    def result(self):
        return self.value

    def reset_state(self):
        self.value.assign(keras.ops.zeros_like(self.value))


@pytest.mark.parametrize(
    "keep",
    [
        lambda state, new: keras.ops.maximum(state, new),
        lambda state, new: new,
        lambda state, new: 0.999 * state + 0.001 * new,
        lambda state, new: 2 * state + new,
    ],
    ids=["largest", "last", "moving average", "powers"],
)
def test_metrics_that_are_no_sums_are_refused(keep):
    model, batch = compiled(Kept(keep), "accuracy")
    with pytest.raises(
        ValueError, match=r"owner\(metrics=\['kept/value'\]\): expected metrics whose state is"
    ):
        require_additive("owner", model, lambda: batch)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_sums_of_the_users_own_are_not(dtype):
    model, batch = compiled(Kept(lambda state, new: state + new, dtype=dtype))
    require_additive("owner", model, lambda: batch)


def test_a_compute_metrics_of_the_models_own_is_looked_at():
    class Own(keras.Sequential):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            self.metrics[-1].reset_state()
            return super().compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    model, batch = compiled("accuracy", kind=Own)
    with pytest.raises(ValueError, match="sum over batches"):
        require_additive("owner", model, lambda: batch)
