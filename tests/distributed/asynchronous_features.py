"""What users of `fit` expect, by Keras' own fit and by the asynchronous trainer with one worker.

Run ``python asynchronous_features.py NAME ...``; prints one JSON object: for each name the largest difference
of logs, of all state, and of what else a run left.
"""

import csv
import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import asynchronous_checks
import keras
import numpy as np
import tensorflow as tf
from asynchronous_checks import WEIGHTS, X, Y, largest

import tfopt
from tfopt.distribute import AsynchronousTrainer

callbacks = keras.callbacks


class Largest(keras.metrics.Metric):
    """The largest prediction so far: no sum."""

    def __init__(self):
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))

    def result(self):
        return self.value


class Positives(keras.metrics.Metric):
    """A count by class, of the user's own, which does not begin at 0."""

    def __init__(self):
        super().__init__(name="positives")
        self.counts = self.add_variable((2,), keras.initializers.Constant(3), dtype="int32", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        positive = keras.ops.sum(keras.ops.cast(y_pred > 0.5, "int32"))
        total = keras.ops.size(y_pred)
        self.counts.assign_add(keras.ops.stack([positive, total - positive]))

    def result(self):
        return self.counts[0]

    def reset_state(self):
        self.counts.assign(3 * keras.ops.ones_like(self.counts))


class Idle(keras.layers.Layer):
    """Has a weight that it makes no use of, for which there is no gradient."""

    def build(self, shape):
        self.weight = self.add_weight(shape=(2,), initializer="ones", name="weight")

    def call(self, inputs):
        return inputs


class Tested(keras.callbacks.Callback):
    """Notes the batches of validations."""

    def __init__(self, folder):
        super().__init__()
        self.file = folder / "tested.txt"

    def on_test_batch_begin(self, batch, logs=None):
        self.note(-1 - batch)

    def on_test_batch_end(self, batch, logs=None):
        self.note(batch + 1)

    def note(self, number):
        with open(self.file, "a") as file:
            file.write(f"{number} ")


class Rows(keras.utils.PyDataset):
    """Batches of dicts."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        x = {"left": X[rows, :2], "right": X[rows, 2:]}
        return x, {"up": Y[rows], "down": 1 - Y[rows]}, {"up": WEIGHTS[rows], "down": WEIGHTS[rows]}


@dataclasses.dataclass(frozen=True)
class Feature:
    """One way to train.

    Attributes:
        optimizer: Makes the optimizer.
        compile: Makes further arguments of `compile`.
        fit: Makes further arguments of `fit`, given a folder.
        policy: Keras' dtype policy.
        model: Makes the model, not compiled.
        again: What comes after the first `fit`, given the model, a function that trains, and the scope.
        left: Numbers to compare, given the folder and the model.
    """

    optimizer: Callable = lambda: tfopt.Adam(0.05)
    compile: Callable = dict
    fit: Callable = lambda folder: {}
    policy: str = "float32"
    model: Callable = lambda: plain()
    again: Callable = lambda model, fit, scope: None
    left: Callable = lambda folder, model: []


def plain():
    layers = [keras.layers.Dense(6, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    return keras.Sequential(
        [keras.Input((4,)), *layers, Idle(), keras.layers.Dense(1, "sigmoid", dtype="float32")]
    )


def stopped():
    """A model whose loss depends on no weight."""
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1), keras.layers.Lambda(tf.stop_gradient)])


def normalized(layer):
    return lambda: keras.Sequential([keras.Input((4,)), layer(keras.layers.Dense(1))])


def all_frozen():
    model = plain()
    model.trainable = False
    return model


def branched():
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
    hidden = keras.layers.Concatenate()([keras.layers.Dense(3, "relu")(part) for part in inputs.values()])
    outputs = {name: keras.layers.Dense(1, "sigmoid", name=name)(hidden) for name in ("up", "down")}
    return keras.Model(inputs, outputs)


def scaled(**options):
    return lambda: keras.optimizers.LossScaleOptimizer(tfopt.Adam(0.05), **options)


def with_callback(make, **options):
    return lambda folder: options | {"callbacks": [make(folder)]}


def rows_of(folder, model):
    """A log file without the columns that only asynchronous training has, and without rounding."""
    with open(folder / "log.csv", newline="") as file:
        return [
            round(float(value), 6)
            for row in csv.DictReader(file)
            for name, value in sorted(row.items())
            if not name.startswith("staleness")
        ]


def saved_model(folder, model):
    return keras.models.load_model(folder / "best.keras", {"Idle": Idle}).predict(X, verbose=0)


def saved_weights(folder, model):
    """Weights after six steps."""
    copy = plain()
    copy.load_weights(folder / "6.weights.h5")
    return np.concatenate([np.ravel(weight) for weight in copy.get_weights() if weight.dtype == np.float32])


def frozen(model, fit, scope):
    """A layer is frozen, and the rest trained with another rule."""
    model.layers[0].trainable = False
    with scope():
        compile_model(model, Feature(lambda: tfopt.Momentum(0.1)))
    fit(1)


def tested(folder, model):
    """Batches of validations; which ends while which begins is open."""
    return sorted(int(number) for number in (folder / "tested.txt").read_text().split())


def scale_of(folder, model):
    return [float(model.optimizer.dynamic_scale.value)]


VALIDATED = {"validation_data": (X, Y), "epochs": 4}
FEATURES = {
    "bfloat16": Feature(policy="mixed_bfloat16"),
    # It begins so high that gradients overflow, falls, and grows again.
    "float16": Feature(
        scaled(initial_scale=2.0**20, dynamic_growth_steps=3), policy="mixed_float16", left=scale_of
    ),
    "float16 by itself": Feature(policy="mixed_float16", left=scale_of),
    "jit": Feature(compile=lambda: {"jit_compile": True}),
    "jit float16": Feature(
        scaled(initial_scale=2.0**20), lambda: {"jit_compile": True}, policy="mixed_float16", left=scale_of
    ),
    "ModelCheckpoint": Feature(
        fit=with_callback(
            lambda folder: callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True), **VALIDATED
        ),
        left=saved_model,
    ),
    "ModelCheckpoint in mid-epoch": Feature(
        fit=with_callback(
            lambda folder: callbacks.ModelCheckpoint(
                folder / "{batch}.weights.h5", save_weights_only=True, save_freq=3
            )
        ),
        left=saved_weights,
    ),
    "EarlyStopping": Feature(
        fit=with_callback(
            lambda folder: callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True),
            epochs=5,
        ),
    ),
    "CSVLogger": Feature(
        fit=with_callback(lambda folder: callbacks.CSVLogger(folder / "log.csv"), **VALIDATED), left=rows_of
    ),
    "LearningRateScheduler": Feature(
        fit=with_callback(lambda folder: callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2))
    ),
    "ReduceLROnPlateau": Feature(
        fit=with_callback(
            lambda folder: callbacks.ReduceLROnPlateau("loss", mode="max", patience=0), epochs=4
        )
    ),
    "SwapEMAWeights": Feature(
        lambda: tfopt.Adam(0.05, use_ema=True, ema_momentum=0.5),
        fit=with_callback(lambda folder: callbacks.SwapEMAWeights(), **VALIDATED),
    ),
    "EvaluationWeights": Feature(
        lambda: tfopt.PolyakAverage(tfopt.Nesterov(0.1)),
        fit=with_callback(lambda folder: tfopt.callbacks.EvaluationWeights(), **VALIDATED),
    ),
    "validation_steps": Feature(
        fit=with_callback(Tested, validation_data=(X, Y), validation_batch_size=10, validation_steps=2),
        left=tested,
    ),
    "all weights frozen": Feature(model=all_frozen),
    "class_weight": Feature(fit=lambda folder: {"class_weight": {0: 1.0, 1: 3.0}}),
    "own metric": Feature(compile=lambda: {"metrics": [Positives()]}),
    "second fit": Feature(again=lambda model, fit, scope: fit(3, initial_epoch=2)),
    "frozen and compiled anew": Feature(again=frozen),
    "several inputs and outputs": Feature(
        model=branched, fit=lambda folder: {"x": Rows(workers=1), "y": None, "batch_size": None}
    ),
}


# The last one waits for its start.
REFUSED_MODELS = {
    "no gradient": stopped,
    "set by call": normalized(keras.layers.SpectralNormalization),
    "not started": normalized(tfopt.layers.WeightNormalization),
}


def compile_model(model, feature):
    options = {"metrics": ["accuracy"], "weighted_metrics": ["AUC"], "loss": "binary_crossentropy"}
    if len(model.outputs) > 1:
        options = {"loss": dict.fromkeys(model.output_names, "binary_crossentropy")}
        options["weighted_metrics"] = {name: ["AUC"] for name in model.output_names}
    model.compile(feature.optimizer(), **(options | feature.compile()))


def run(feature, strategy=None):
    """Logs, state and what else is left of a feature's training, by Keras or under the strategy."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(feature.policy)
    scope = (strategy or tf.distribute.get_strategy()).scope
    try:
        with scope():
            model = feature.model()
            compile_model(model, feature)
    finally:
        keras.config.set_dtype_policy("float32")
    trainer = AsynchronousTrainer(model) if strategy else model
    logs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "x": X,
            "y": Y,
            "batch_size": 8,
            "epochs": 2,
            "verbose": 0,
            **feature.fit(pathlib.Path(folder)),
        }

        def fit(epochs, **others):
            for name, values in trainer.fit(**(options | {"epochs": epochs} | others)).history.items():
                logs.setdefault(name, []).extend(values)

        keras.utils.set_random_seed(2)
        fit(options["epochs"])
        feature.again(model, fit, scope)
        counted = {id(v) for v in model.metrics_variables}
        state = [v for v in (*model.variables, *model.optimizer.variables) if id(v) not in counted]
        return logs, [np.asarray(v.value) for v in state], feature.left(pathlib.Path(folder), model)


def features(*names):
    """For each name the largest differences, and what the trainer refuses."""
    expected = {name: run(FEATURES[name]) for name in names}
    strategy = tfopt.distribute.connect(asynchronous_checks.cluster_of(1, 1))
    found = {}
    for name in names:
        logs, state, left = run(FEATURES[name], strategy)
        reference, *rest = expected[name]
        found[name] = {
            "logs": max(largest(logs[key], reference[key]) for key in reference),
            "more logs": sorted(set(logs) - set(reference)),
            "state": max(map(largest, state, rest[0])),
            "left": largest(left, rest[1]),
            "left numbers": int(np.size(left)),
        }
    return {"features": found, "refused": refused(strategy)}


def refused(strategy):
    """Messages before any update: a metric that is no sum, and a call within the scope."""
    with strategy.scope():
        model = plain()
        compile_model(model, Feature(compile=lambda: {"metrics": [Largest()]}))
        trainer = AsynchronousTrainer(model)
        within = asynchronous_checks.message_of(lambda: trainer.fit(X, Y))
    found = {"metric": message_of(trainer), "within": within, "updates": trainer.updates}
    for name, make in REFUSED_MODELS.items():
        with strategy.scope():
            model = make()
            model.compile(tfopt.Adam(0.05), "mse")
        found[name] = message_of(AsynchronousTrainer(model))
    # Once it has its start it is trained.
    model(X, training=True)
    return found | {"started": message_of(AsynchronousTrainer(model))}


def message_of(trainer):
    return asynchronous_checks.message_of(lambda: trainer.fit(X, Y, verbose=0))


if __name__ == "__main__":
    print(json.dumps(features(*(sys.argv[1:] or FEATURES))))
