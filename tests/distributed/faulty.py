"""Workers that do something wrong: ``python faulty.py CASE [SECONDS]`` prints the error that comes of it."""

import sys
import time

import keras
import numpy as np
import tensorflow as tf

import tfopt

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


def model_with(optimizer, units=2):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def fit(model):
    model.fit(X, Y, batch_size=4, verbose=0)


def train(strategy, make, units=2):
    with strategy.scope():
        model = model_with(make(), units)
    fit(model)


def other_class(strategy, index):
    """Another rule on one worker."""
    train(strategy, lambda: (tfopt.SGD, tfopt.Adam)[index](0.1))


def other_rate(strategy, index):
    """Another learning rate on one worker."""
    train(strategy, lambda: tfopt.Adam((0.1, 0.2)[index]))


def other_inner(strategy, index):
    """Another optimizer inside a wrapper."""
    train(strategy, lambda: tfopt.PolyakAverage(tfopt.Momentum(0.1, momentum=(0.9, 0.8)[index])))


def other_model(strategy, index):
    """More units on one worker."""
    train(strategy, lambda: tfopt.LBFGS(), units=(2, 3)[index])


def other_names(strategy, index):
    """The same, though one worker has made another model before: names count on, and nothing is wrong."""
    if index:
        model_with(tfopt.Adam(0.1))
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.9)
    train(strategy, lambda: tfopt.Adam(schedule, name=f"adam_{index}"))


def model_outside(strategy, index):
    """The model is made before the scope."""
    model = model_with(None)
    with strategy.scope():
        model.compile(tfopt.Adam(0.1), "mse")
    fit(model)


def optimizer_outside(strategy, index):
    """The optimizer is made before the scope."""
    optimizer = tfopt.Adam(0.1)
    with strategy.scope():
        model = model_with(optimizer)
    fit(model)


CASES = {
    f.__name__: f
    for f in (
        *(other_class, other_rate, other_inner, other_model, other_names),
        *(model_outside, optimizer_outside),
    )
}


def main(names, seconds="60"):
    """Run the cases one after the other and print what each came to, with the seconds it took."""
    begin = time.monotonic()
    try:
        strategy = tfopt.distribute.multi_worker_strategy(timeout=float(seconds))
    except (OSError, ValueError) as error:
        print(f"start|{time.monotonic() - begin:.2f}|{type(error).__name__}|{error}")
        return
    tfopt.repair_keras()
    index = strategy.cluster_resolver.task_id
    for name in filter(None, names.split(",")):
        begin, came = time.monotonic(), "nothing|"
        try:
            CASES[name](strategy, index)
        except Exception as error:
            came = f"{type(error).__name__}|{error}".replace("\n", " ")
        print(f"{name}|{time.monotonic() - begin:.2f}|{came}", flush=True)


if __name__ == "__main__":
    tf.config.threading.set_inter_op_parallelism_threads(2)
    main(*sys.argv[1:])
