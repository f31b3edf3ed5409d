"""Rows of the contract, and the script that runs them: alone, on two replicas, or as one of several workers.

``python contract.py KIND FOLDER ROW …`` trains each row in turn and writes what it came to, KIND being one of
"alone", "replicas" or "workers"; a worker finds its place in TF_CONFIG. The global batch is the same for all.
"""

import dataclasses
import functools
import json
import os
import pathlib
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfopt
from tfopt import callbacks, layers

BATCH, STEPS, CLASSES = 24, 50, 3
RULE, METHOD = 1e-6, 1e-5  # relative and absolute error of all weights after STEPS train steps
PolynomialDecay = keras.optimizers.schedules.PolynomialDecay

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2 * BATCH, 6))
LABELS = (X @ RNG.normal(size=(6, CLASSES)) + RNG.normal(size=(len(X), CLASSES))).argmax(1)


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing to train in one way.

    Attributes:
        optimizer: Makes the optimizer.
        layers: Makes the hidden layers, given the dtype.
        dtype: Of the whole model; where a method magnifies rounding, float64 keeps it below what a wrong step
            would show.
        full: Train on all samples at once, for methods that search along lines.
        callbacks: Makes the callbacks.
        fit: Further arguments of `fit`.
        compile: Further arguments of `compile`.
        tolerance: How near the run on one device.
        equal: Whether several replicas are to come to what one device does; False where, by design, a replica
            sees its share of the batch alone.
        batchwise: Compare with one device that takes the full batch in two steps: over steps as over replicas
            a method asks for one product with the Hessian per evaluation, and not for all of them at once.
        start: Call the model once before `fit`, for layers that take their start from a batch.
        errors: For each kind of run in which TensorFlow refuses the row, what matches its error.
    """

    optimizer: Callable
    layers: Callable = lambda dtype: [keras.layers.Dense(5, "tanh", dtype=dtype)]
    dtype: str = "float32"
    full: bool = False
    callbacks: Callable = list
    fit: dict = dataclasses.field(default_factory=dict)
    compile: dict = dataclasses.field(default_factory=dict)
    tolerance: float = RULE
    equal: bool = True
    batchwise: bool = False
    start: bool = False
    errors: dict = dataclasses.field(default_factory=dict)


RULES = {
    "SGD": [{"learning_rate": 0.1}],
    "Momentum": [{"learning_rate": 0.05}],
    "Nesterov": [{"learning_rate": 0.05, "momentum": PolynomialDecay(0.3, 20, 0.9)}],
    "DeltaBarDelta": [{"learning_rate": 0.05}],
    "AdaGrad": [{"learning_rate": 0.05}],
    "RMSProp": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "momentum": 0.5, "nesterov": True, "centered": True},
    ],
    "AdaDelta": [{"window": 10}],
    "Adam": [
        {"learning_rate": 0.01},
        {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.02, 5, 0.9), "amsgrad": True},
    ],
    "AMSGrad": [{"learning_rate": 0.01}, {"learning_rate": 0.01, "variant": "recursive"}],
    "NAdam": [{"learning_rate": 0.01}, {"learning_rate": 0.01, "form": "lookahead"}],
    "AdamThenSGD": [{"learning_rate": 0.01, "switch_at": 5}, {"learning_rate": 0.01}],
}
WRAPPERS = {
    "PolyakAverage": [
        lambda **o: tfopt.PolyakAverage(tfopt.Nesterov(0.05, **o), start_step=3),
        lambda **o: tfopt.PolyakAverage(tfopt.Adam(0.01, **o), decay=0.8),
    ],
    "GaussianSmoothing": [
        lambda **o: tfopt.GaussianSmoothing(tfopt.SGD(0.05, **o), PolynomialDecay(0.05, 20, 0.0), seed=1),
        lambda **o: tfopt.GaussianSmoothing(tfopt.Adam(0.01, **o), 0.02, samples=2, antithetic=True, seed=2),
    ],
    "BlockCoordinateDescent": [
        lambda **o: tfopt.BlockCoordinateDescent(
            tfopt.Adam(0.02, **o), blocks="layer", order="random", steps_per_block=2, seed=1
        ),
        lambda **o: tfopt.BlockCoordinateDescent(
            tfopt.SGD(0.1, **o), blocks=["kernel", "bias"], order="greedy"
        ),
    ],
}
# What acts on a gradient, all in one run; the averages go to optimizers that keep none themselves.
OPTIONS = {
    "clip, decay": {"clipnorm": 0.3, "weight_decay": 0.01},
    "accumulate": {"global_clipnorm": 0.2, "gradient_accumulation_steps": 2, "skip_nonfinite": True},
}
AVERAGES = {
    "clip, decay": {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 7},
    "accumulate": {"use_ema": True, "ema_momentum": 0.8, "loss_scale_factor": 8.0},
}
METHODS = {
    "LBFGS": lambda **o: tfopt.LBFGS(history=4, **o),
    "BFGS": lambda **o: tfopt.BFGS(**o),
    "ConjugateGradient": lambda **o: tfopt.ConjugateGradient(restart_every=30, **o),
    "ConjugateGradient exact": lambda **o: tfopt.ConjugateGradient(beta="exact", restart_every=30, **o),
    "SteepestDescent": lambda **o: tfopt.SteepestDescent(**o),
    "Newton": lambda **o: tfopt.Newton(**o),
    "NewtonCG": lambda **o: tfopt.NewtonCG(max_cg=6, **o),
    "CoordinateDescent": lambda **o: tfopt.CoordinateDescent(**o),
}


CURVED = ("ConjugateGradient exact", "Newton", "NewtonCG", "CoordinateDescent")


def numbered(name, settings):
    return [f"{name} {k + 1}" if len(settings) > 1 else name for k in range(len(settings))]


def rule_rows():
    """Each rule and wrapper, with each set of options and several steps per execution."""
    makers = {
        name: functools.partial(getattr(tfopt, cls), **settings)
        for cls, rows in RULES.items()
        for name, settings in zip(numbered(cls, rows), rows, strict=True)
    }
    wrappers = {
        name: make
        for cls, rows in WRAPPERS.items()
        for name, make in zip(numbered(cls, rows), rows, strict=True)
    }
    for name, make in (makers | wrappers).items():
        for label, options in OPTIONS.items():
            given = options | (AVERAGES[label] if name in makers else {})
            # The difference of two near numbers that centering takes makes much of float32's rounding.
            dtype = "float64" if name == "RMSProp 2" else "float32"
            several = {"steps_per_execution": 10}
            yield f"{name}, {label}", Row(functools.partial(make, **given), dtype=dtype, compile=several)


def method_rows():
    """Each method on the full batch: at once and in several steps per execution, and batch by batch."""
    common = dict(dtype="float64", tolerance=METHOD)
    for name, make in METHODS.items():
        several = {"steps_per_execution": 10}
        yield name, Row(make, full=True, compile=several, batchwise=name in CURVED, **common)
        yield f"{name}, accumulate", Row(functools.partial(make, gradient_accumulation_steps=2), **common)


def sequence(cell):
    return lambda dtype: [
        keras.layers.Reshape((3, 2), dtype=dtype),
        keras.layers.RNN(cell(4, dtype=dtype), dtype=dtype),
    ]


def between(make, shape=(4, 3)):
    """The layer between two of Keras' own, on inputs of that shape."""
    return lambda dtype: [
        keras.layers.Dense(int(np.prod(shape)), "tanh", dtype=dtype),
        keras.layers.Reshape(shape, dtype=dtype),
        make(dtype=dtype),
        keras.layers.Flatten(dtype=dtype),
    ]


def whitened(**options):
    layer = layers.Whitening(**options)
    layer.adapt(X.astype(options["dtype"]))
    return layer


LAYERS = {
    "LayerNormalization": between(layers.LayerNormalization),
    "InstanceNormalization": between(layers.InstanceNormalization),
    "GroupNormalization": between(lambda **o: layers.GroupNormalization(groups=3, **o), (4, 6)),
    "BatchNormalization": between(lambda **o: layers.BatchNormalization(synchronized=True, **o)),
    "BatchNormalization per unit": between(
        lambda **o: layers.BatchNormalization(synchronized=True, per="unit", **o)
    ),
    "WeightNormalization": lambda dtype: [
        layers.WeightNormalization(keras.layers.Dense(5, "tanh", dtype=dtype), data_init=True, dtype=dtype)
    ],
    "Maxout": lambda dtype: [layers.Maxout(4, 2, dtype=dtype)],
    "Whitening": lambda dtype: [whitened(dtype=dtype), keras.layers.Dense(5, "tanh", dtype=dtype)],
    "LayerNormLSTMCell": sequence(layers.LayerNormLSTMCell),
    "LayerNormGRUCell": sequence(layers.LayerNormGRUCell),
}


def layer_rows():
    """Each layer within a model, and batch normalisation that each replica does for itself."""
    momentum = lambda: tfopt.Momentum(0.02)  # noqa: E731
    for name, make in LAYERS.items():
        yield name, Row(momentum, layers=make, dtype="float64", start=name == "WeightNormalization")
    alone = between(layers.BatchNormalization)
    yield "BatchNormalization, each replica", Row(momentum, layers=alone, dtype="float64", equal=False)
    yield (
        "BatchNormalization, LBFGS",
        Row(
            METHODS["LBFGS"],
            layers=LAYERS["BatchNormalization"],
            dtype="float64",
            full=True,
            tolerance=METHOD,
        ),
    )


def data():
    return tf.data.Dataset.from_tensor_slices((X, LABELS)).batch(BATCH)


def probe(kind, **options):
    return lambda: [kind(X, LABELS, every=10, batch_size=BATCH, **options)]


def callback_rows():
    """Callbacks: what they log has to agree too."""
    adam = lambda: tfopt.Adam(0.01)  # noqa: E731
    epochs = {"epochs": 5, "steps_per_epoch": 10}
    validated = epochs | {"validation_data": (X, LABELS), "validation_batch_size": BATCH}
    yield (
        "EvaluationWeights",
        Row(
            WRAPPERS["PolyakAverage"][0],
            dtype="float64",
            callbacks=lambda: [callbacks.EvaluationWeights()],
            fit=validated,
        ),
    )
    for kind in (callbacks.CurvatureMonitor, callbacks.GradientFlow, callbacks.GradientNoiseScale):
        yield kind.__name__, Row(adam, dtype="float64", callbacks=probe(kind), fit=epochs)
    yield (
        "LearningRateFinder",
        Row(adam, dtype="float64", callbacks=lambda: [callbacks.LearningRateFinder(steps=20)], fit=epochs),
    )
    backup = lambda: [callbacks.BackupAndRestore(tempfile.mkdtemp(), save_freq=7)]  # noqa: E731
    yield "BackupAndRestore", Row(adam, dtype="float64", callbacks=backup, fit=epochs)
    two = lambda dtype: [keras.layers.Dense(n, "tanh", dtype=dtype) for n in (6, 5)]  # noqa: E731
    yield (
        "GreedyPretraining",
        Row(
            adam, layers=two, dtype="float64", callbacks=lambda: [callbacks.GreedyPretraining(2)], fit=epochs
        ),
    )
    yield (
        "ContinuationStages",
        Row(
            adam,
            dtype="float64",
            callbacks=lambda: [callbacks.ContinuationStages()],
            fit=epochs,
            compile={"loss": continuation},
        ),
    )
    yield (
        "CommonRandomNumbers",
        Row(
            METHODS["LBFGS"],
            layers=lambda dtype: [
                keras.layers.Dense(5, "tanh", dtype=dtype),
                keras.layers.Dropout(0.2, seed=3, dtype=dtype),
            ],
            dtype="float64",
            full=True,
            callbacks=lambda: [callbacks.CommonRandomNumbers("epoch")],
            fit=epochs,
            equal=False,
        ),
    )


def continuation():
    loss = lambda smoothing: keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # noqa: E731
    return tfopt.losses.Continuation([loss(0), loss(1)], [2])


# XLA compiles one device's program; under MirroredStrategy a step holds the variables of all replicas.
ACROSS_DEVICES = (
    r"(?s)Trying to access resource .* from device .*known_issues#tfvariable_on_a_different_device"
)
# It would have to compile collectives, which it does for GPUs and TPUs alone.
COLLECTIVES = "Collectives are not yet implemented for CPU devices when compiling with XLA"


def way_rows():
    """Other ways to run a train step; where TensorFlow refuses one, its own error."""
    jit, eager = {"jit_compile": True}, {"run_eagerly": True}
    refused = {"replicas": ACROSS_DEVICES, "workers": COLLECTIVES}
    adam = lambda: tfopt.Adam(0.01)  # noqa: E731
    yield "Adam, run_eagerly", Row(adam, compile=eager)
    yield "Adam, jit", Row(adam, compile=jit, errors=refused)
    # Last, as collectives may stay aborted after a refusal, which is what a later row sees then.
    again = refused | {"workers": f"{COLLECTIVES}|Collective ops is aborted by"}
    yield (
        "LBFGS, jit",
        Row(METHODS["LBFGS"], full=True, dtype="float64", tolerance=METHOD, compile=jit, errors=again),
    )


ROWS: dict[str, Row] = {
    **dict(rule_rows()),
    **dict(method_rows()),
    **dict(layer_rows()),
    **dict(callback_rows()),
    **dict(way_rows()),
}


# -- Running a row ----------------------------------------------------------------------------------------


def model_of(row):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((X.shape[1],), dtype=row.dtype),
            *row.layers(row.dtype),
            keras.layers.Dense(CLASSES, name="top", dtype=row.dtype),
        ]
    )
    options = {"jit_compile": False} | row.compile
    loss = options.pop("loss", lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.compile(row.optimizer(), loss(), weighted_metrics=["accuracy"], **options)
    return model


def batches(row):
    size = len(X) if row.full else BATCH
    return tf.data.Dataset.from_tensor_slices((X.astype(row.dtype), LABELS)).batch(size).repeat()


def alone(row):
    """The row that one device trains to compare with."""
    if not row.batchwise:
        return row
    optimizer = functools.partial(row.optimizer, gradient_accumulation_steps=2)
    return dataclasses.replace(row, optimizer=optimizer, full=False, fit={"steps_per_epoch": 2 * STEPS})


def train(row, strategy):
    """Train a row under a strategy, and give back everything it came to, by name."""
    row = row if strategy.num_replicas_in_sync > 1 else alone(row)
    keras.config.set_floatx(row.dtype)
    try:
        with strategy.scope():
            model = model_of(row)
            if row.start:
                model(X[:BATCH], training=True)
        options = {"steps_per_epoch": STEPS} | row.fit
        history = model.fit(batches(row), shuffle=False, verbose=0, callbacks=row.callbacks(), **options)
    finally:
        keras.config.set_floatx("float32")
    weights = {f"weight {k} {v.name}": v for k, v in enumerate(model.weights)}
    state = {f"state {k}": v for k, v in enumerate(model.optimizer.variables)}
    found = {name: np.asarray(v.numpy()) for name, v in (weights | state).items()}
    found |= {f"history {name}": np.asarray(values) for name, values in history.history.items()}
    found["replicas differ"] = np.array(differing(strategy, [*weights.values(), *state.values()]))
    return found


def differing(strategy, variables):
    """Number of variables that this process' replicas do not hold bit for bit alike."""
    count = 0
    for variable in variables:
        first, *others = (np.asarray(r) for r in strategy.experimental_local_results(variable.value))
        count += not all(np.array_equal(first, other, equal_nan=True) for other in others)
    return count


def strategy_of(kind):
    """One strategy for all rows: a process' second one finds the first one's collectives in its way."""
    if kind == "alone":
        return tf.distribute.get_strategy()
    if kind == "replicas":
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return tfopt.distribute.multi_worker_strategy(timeout=120)


def main(kind, folder, *names):
    """Run the rows and write ``FOLDER/KIND-INDEX.npz``: each row's arrays, or its traceback."""
    tf.config.threading.set_inter_op_parallelism_threads(2)
    strategy = strategy_of(kind)
    tfopt.repair_keras()
    found: dict[str, Any] = {}
    for name in names:
        try:
            found |= {f"{name}|{key}": value for key, value in train(ROWS[name], strategy).items()}
        except Exception:
            found[f"{name}|error"] = np.array(traceback.format_exc())
        print(name, "error" if f"{name}|error" in found else "done", flush=True)
    index = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
    np.savez(pathlib.Path(folder, f"{kind}-{index}.npz"), **found)
    sys.stdout.flush()
    # Where XLA has refused a collective, TensorFlow aborts as the process ends by itself.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
