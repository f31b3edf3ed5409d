"""Rows of the contract, and the script that runs them: alone, on two replicas, or as one of several workers.

``python contract.py KIND FOLDER ROW …`` trains each row in turn and writes what it came to, KIND being one of
"alone", "replicas", "workers" or "tpu"; a worker finds its place in TF_CONFIG. The global batch is one.
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
from tfopt import callbacks, layers, losses, schedules

BATCH, STEPS, CLASSES = 24, 50, 3
RULE, METHOD = 1e-6, 1e-5  # relative and absolute error of all weights after STEPS train steps
PolynomialDecay = keras.optimizers.schedules.PolynomialDecay

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2 * BATCH, 6))
LABELS = (X @ RNG.normal(size=(6, CLASSES)) + RNG.normal(size=(len(X), CLASSES))).argmax(1)
EPOCHS = {"epochs": 5, "steps_per_epoch": STEPS // 5}
VALIDATED = EPOCHS | {"validation_data": (X, LABELS), "validation_batch_size": BATCH}


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
        data: Makes what `fit` is given in place of the same samples over and over.
        fit: Further arguments of `fit`.
        compile: Further arguments of `compile`, or functions that make them.
        tolerance: How near the run on one device.
        equal: Whether several replicas are to come to what one device does; False where, by design, a replica
            sees its share of the batch alone.
        batchwise: Compare with one device that takes the full batch in two steps: over steps as over replicas
            a method asks for one product with the Hessian per evaluation, and not for all of them at once.
            One that takes it in one step comes to the same weights after as many iterations.
        start: Call the model once before `fit`, for layers that take their start from a batch.
        errors: For each kind of run in which TensorFlow refuses the row, what matches its error.
    """

    optimizer: Callable
    layers: Callable = lambda dtype: [keras.layers.Dense(5, "tanh", dtype=dtype)]
    dtype: str = "float32"
    full: bool = False
    callbacks: Callable = list
    data: Callable | None = None
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
TRANSFORMS = {
    "AdaptiveClip": [
        lambda **o: tfopt.transforms.AdaptiveClip(tfopt.Momentum(0.05, **o), 0.05, exclude=["top"]),
        lambda **o: tfopt.transforms.AdaptiveClip(tfopt.Adam(0.01, **o), 0.02),
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


def with_options(kinds, averages):
    """Each maker of each kind with each set of options, several steps per execution."""
    for kind, makers in kinds.items():
        for name, make in zip(numbered(kind, makers), makers, strict=True):
            for label, options in OPTIONS.items():
                given = options | averages.get(label, {})
                # The difference of two near numbers that centering takes makes much of float32's rounding.
                dtype = "float64" if name == "RMSProp 2" else "float32"
                several = {"steps_per_execution": 10}
                yield f"{name}, {label}", Row(functools.partial(make, **given), dtype=dtype, compile=several)


def rule_rows():
    """Each rule and wrapper."""
    rules = {
        cls: [functools.partial(getattr(tfopt, cls), **settings) for settings in rows]
        for cls, rows in RULES.items()
    }
    yield from with_options(rules, AVERAGES)
    yield from with_options(WRAPPERS, {})


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


def adam():
    return tfopt.Adam(0.01)


def momentum():
    """Unlike Adam, moved twice as far by a loss or a gradient twice as large."""
    return tfopt.Momentum(0.02)


def layer_rows():
    """Each layer within a model, and batch normalisation that each replica does for itself."""
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


def probe(kind, **options):
    return lambda: [kind(X, LABELS, every=10, batch_size=BATCH, **options)]


def callback_rows():
    """Callbacks: what they log has to agree too."""
    yield (
        "EvaluationWeights",
        Row(
            WRAPPERS["PolyakAverage"][0],
            dtype="float64",
            callbacks=lambda: [callbacks.EvaluationWeights()],
            fit=VALIDATED,
        ),
    )
    for kind in (callbacks.CurvatureMonitor, callbacks.GradientFlow, callbacks.GradientNoiseScale):
        yield kind.__name__, Row(adam, dtype="float64", callbacks=probe(kind), fit=EPOCHS)
    yield (
        "LearningRateFinder",
        Row(adam, dtype="float64", callbacks=lambda: [callbacks.LearningRateFinder(steps=20)], fit=EPOCHS),
    )
    backup = lambda: [callbacks.BackupAndRestore(tempfile.mkdtemp(), save_freq=7)]  # noqa: E731
    yield "BackupAndRestore", Row(adam, dtype="float64", callbacks=backup, fit=EPOCHS)
    two = lambda dtype: [keras.layers.Dense(n, "tanh", dtype=dtype) for n in (6, 5)]  # noqa: E731
    yield (
        "GreedyPretraining",
        Row(
            adam, layers=two, dtype="float64", callbacks=lambda: [callbacks.GreedyPretraining(2)], fit=EPOCHS
        ),
    )
    yield (
        "ContinuationStages",
        # A method with a search, which has to begin anew where the stage changes.
        Row(
            METHODS["LBFGS"],
            dtype="float64",
            full=True,
            tolerance=METHOD,
            callbacks=lambda: [callbacks.ContinuationStages()],
            fit=EPOCHS,
            compile={"loss": lambda: softened([2, 3])},
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
            fit=EPOCHS,
            equal=False,
        ),
    )


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def softened(schedule, temperatures=(4.0, 2.0)):
    """A continuation from soft logits to plain ones."""
    stages = [losses.Temperature(crossentropy(), t) for t in temperatures]
    return losses.Continuation([*stages, crossentropy()], schedule)


LOSSES = {
    "Blend": lambda: losses.Blend(losses.Temperature(crossentropy(), 4.0), crossentropy(), 0.3),
    "LabelSmoothing": lambda: losses.LabelSmoothing(crossentropy(), 0.2),
    "Surrogate": lambda: losses.Surrogate(losses.LabelSmoothing(crossentropy(), 0.2), crossentropy()),
    "Temperature": lambda: losses.Temperature(crossentropy(), 3.0),
    "ZeroOne, value of Surrogate": lambda: losses.Surrogate(losses.ZeroOne(), crossentropy()),
}
CONTINUATIONS = {
    "Continuation": lambda: softened([2], [3.0]),
    "ByEpoch": lambda: softened(losses.ByEpoch([1, 3])),
    "ByStep": lambda: softened(losses.ByStep([15, 35])),
    "ByPlateau": lambda: softened(losses.ByPlateau(patience=1, min_delta=0.05)),
}


def alternating(dtype):
    """Labels of which every even number of neighbours, and so every replica, has both in equal parts."""
    return endless(X.astype(dtype), np.arange(len(X)) % 2, BATCH)


def loss_rows():
    """Each loss, with the logs that it makes."""
    common = dict(dtype="float64", fit=EPOCHS)
    for name, make in LOSSES.items():
        yield name, Row(momentum, compile={"loss": make}, **common)
    for name, make in CONTINUATIONS.items():
        moved = lambda: [callbacks.ContinuationStages()]  # noqa: E731
        yield name, Row(momentum, compile={"loss": make}, callbacks=moved, **common)
    by_label = lambda: losses.Curriculum(crossentropy(), 0.5, difficulty=lambda y, _: y)  # noqa: E731
    yield "Curriculum", Row(momentum, compile={"loss": by_label}, data=alternating, **common)
    self_paced = lambda: losses.Curriculum(crossentropy(), 0.6)  # noqa: E731
    yield "Curriculum, each replica", Row(momentum, compile={"loss": self_paced}, equal=False, **common)


def metric_rows():
    """Each metric, in training and validation."""
    metrics = lambda: ["accuracy", tfopt.metrics.ZeroOne()]  # noqa: E731
    yield "ZeroOne", Row(momentum, dtype="float64", compile={"weighted_metrics": metrics}, fit=VALIDATED)


def schedule_rows():
    """Each schedule, counted in train steps and in updates."""
    two = {"gradient_accumulation_steps": 2}
    yield "LinearDecay", Row(lambda: tfopt.SGD(schedules.LinearDecay(0.2, 30)))
    yield "RobbinsMonro", Row(lambda: tfopt.Adam(schedules.RobbinsMonro(0.05, 0.8, 10), **two))


def growing(dtype):
    sizes = {0: BATCH // 4, 1: BATCH // 2, 3: BATCH}
    return tfopt.data.GrowingBatches(X.astype(dtype), LABELS, sizes, seed=1)


def samples(dtype):
    return tf.data.Dataset.from_tensor_slices((X.astype(dtype), LABELS))


def data_rows():
    """Each kind of batches."""
    whole = {"epochs": 6, "steps_per_epoch": None}
    yield "GrowingBatches", Row(momentum, dtype="float64", data=growing, fit=whole)
    uneven = lambda dtype: tfopt.data.full_batch(samples(dtype).batch(30))  # noqa: E731
    yield (
        "full_batch",
        Row(
            functools.partial(METHODS["LBFGS"], gradient_accumulation_steps=2),
            dtype="float64",
            tolerance=METHOD,
            data=uneven,
        ),
    )
    thrice = lambda dtype: tfopt.data.repeat_each(samples(dtype).batch(BATCH), 3).repeat()  # noqa: E731
    yield "repeat_each", Row(momentum, dtype="float64", data=thrice)
    stored = lambda dtype: tfopt.data.shuffled(samples(dtype), seed=1).batch(BATCH).repeat()  # noqa: E731
    yield "shuffled", Row(momentum, dtype="float64", data=stored)


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
    yield "Adam, run_eagerly", Row(adam, compile=eager)
    yield "Adam, jit", Row(adam, compile=jit, errors=refused)
    # Last, as collectives may stay aborted after a refusal, which is what a later row sees then.
    again = refused | {"workers": f"{COLLECTIVES}|Collective ops is aborted by"}
    yield (
        "LBFGS, jit",
        Row(METHODS["LBFGS"], full=True, dtype="float64", tolerance=METHOD, compile=jit, errors=again),
    )


# By subpackage of the index; a row's name begins with that of what it trains.
INDEX = {
    "optimizers": dict([*rule_rows(), *method_rows()]),
    "transforms": dict(with_options(TRANSFORMS, {})),
    "layers": dict(layer_rows()),
    "callbacks": dict(callback_rows()),
    "losses": dict(loss_rows()),
    "metrics": dict(metric_rows()),
    "schedules": dict(schedule_rows()),
    "data": dict(data_rows()),
}
ROWS: dict[str, Row] = {
    name: row for rows in (*INDEX.values(), dict(way_rows())) for name, row in rows.items()
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
    given = {"jit_compile": False, "loss": crossentropy, "weighted_metrics": ["accuracy"]} | row.compile
    model.compile(row.optimizer(), **{name: v() if callable(v) else v for name, v in given.items()})
    return model


def endless(x, y, size):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size, drop_remainder=True).repeat()


def batches(row):
    if row.data is not None:
        return row.data(row.dtype)
    return endless(X.astype(row.dtype), LABELS, len(X) if row.full else BATCH)


class UntilIterations(keras.callbacks.Callback):
    """Ends `fit` when the method has accepted so many iterates."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = self.model.optimizer.result.iterations >= self.count


def in_halves(row):
    """The full batch in two train steps."""
    optimizer = functools.partial(row.optimizer, gradient_accumulation_steps=2)
    return dataclasses.replace(row, optimizer=optimizer, full=False, fit={"steps_per_epoch": 2 * STEPS})


def train(row, strategy):
    """Train a row under a strategy, and give back everything it came to, by name."""
    if strategy.num_replicas_in_sync > 1 or not row.batchwise:
        return outcome(*fitted(row, strategy), strategy)
    model, history = fitted(in_halves(row), strategy)
    until = functools.partial(UntilIterations, model.optimizer.result.iterations)
    at_once, _ = fitted(dataclasses.replace(row, compile={}, callbacks=lambda: [until()]), strategy)
    return outcome(model, history, strategy) | {
        f"at once {name}": v.numpy() for name, v in named_weights(at_once).items()
    }


def fitted(row, strategy):
    """A row's model after `fit`, and its logs."""
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
    return model, history.history


def named_weights(model):
    return {f"weight {k} {v.name}": v for k, v in enumerate(model.weights)}


def outcome(model, history, strategy):
    """Weights, the optimizer's state, logs, and whether replicas differ."""
    variables = named_weights(model) | {f"state {k}": v for k, v in enumerate(model.optimizer.variables)}
    # Checksums of weights are the same only where the weights are to the bit.
    compared = {name: v for name, v in variables.items() if v.path.rsplit("/", 1)[-1] != "shown"}
    found = {name: np.asarray(v.numpy()) for name, v in compared.items()}
    found |= {f"history {name}": np.asarray(values) for name, values in history.items()}
    found["replicas differ"] = np.array(differing(strategy, variables.values()))
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
    if kind == "tpu":
        return tpu_strategy(os.environ["TFOPT_TPU"])
    return tfopt.distribute.multi_worker_strategy(timeout=120)


def tpu_strategy(name):
    """All cores of a TPU; "local" is the name of a TPU VM's own."""
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


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
