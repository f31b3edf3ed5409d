"""Sparse coding of digits and of their patches: objective and seconds, beside scikit-learn."""

import functools
import random
import time
import warnings

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.decomposition import DictionaryLearning, MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning

import tfopt
from benchmarks._timing import Times

TITLE = "Sparse coding, full batch and minibatches; float32, scikit-learn in float64"
PACKAGES = ("scikit-learn",)
# Each takes seconds to minutes.
MOST_ROUNDS = 5
MINIBATCH = 256


def run(smoke, rounds):
    """Rows of the table, one at a time."""
    sweeps, epochs = (2, 1) if smoke else (50, 5)
    for name, (x, atoms, l1) in cases(smoke).items():
        for way, makers in {"full batch": full(sweeps), "minibatches": streamed(epochs)}.items():
            fits = {who: functools.partial(make, x, atoms, l1) for who, make in makers.items()}
            row = {"data": name, "samples": len(x), "features": x.shape[1], "atoms": atoms, "way": way}
            yield row | compare(fits, x, l1, 1 if smoke else rounds)


def cases(smoke):
    """Samples, number of atoms and λ by name."""
    images = (load_digits().images / 16).astype("float32")[: 20 if smoke else None]
    windows = np.lib.stride_tricks.sliding_window_view(images, (5, 5), axis=(1, 2)).reshape(-1, 25)
    whole, patches = centred(images.reshape(len(images), -1), 0), centred(windows, 1)
    if smoke:
        return {"digits": (whole, 4, 1.0)}
    chosen = np.random.default_rng(0).choice(patches, 10_000, replace=False)
    return {"digits": (whole, 100, 1.0), "patches": (chosen, 50, 0.5)}


def centred(x, axis):
    """Samples around their mean, or each around its own."""
    return x - x.mean(axis=axis, keepdims=True)


def full(sweeps):
    """Fits with all samples: functions of samples, number of atoms, λ and seed, answering with atoms."""

    def ours(x, atoms, l1, seed):
        layer = tfopt.SparseCoding(atoms, l1, seed=seed)
        layer.fit(x, max_sweeps=sweeps)
        return layer.atoms.numpy()

    def theirs(x, atoms, l1, seed):
        options = dict(alpha=l1 / 2, fit_algorithm="cd", max_iter=sweeps, tol=1e-4, random_state=seed)
        return DictionaryLearning(atoms, **options).fit(double(x)).components_

    return {"tfopt": ours, "sklearn": theirs}


def streamed(epochs):
    """Fits with minibatches, the same number for both."""

    def ours(x, atoms, l1, seed):
        layer = tfopt.SparseCoding(atoms, l1, seed=seed)
        batches = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x), seed=seed).batch(MINIBATCH)
        layer.partial_fit(batches.repeat(epochs))
        return layer.atoms.numpy()

    def theirs(x, atoms, l1, seed):
        options = dict(alpha=l1 / 2, fit_algorithm="cd", max_iter=epochs, batch_size=MINIBATCH)
        # Only the epochs end it.
        options |= dict(tol=0.0, max_no_improvement=None, random_state=seed)
        return MiniBatchDictionaryLearning(atoms, **options).fit(double(x)).components_

    return {"tfopt": ours, "sklearn": theirs}


def double(x):
    """Samples as scikit-learn takes them: in float32 its own codes are of the wrong type."""
    return x.astype("float64")


def compare(fits, x, l1, rounds):
    """Seconds and objectives of both, in turns; the first round, which traces, counts as the first call."""
    seconds, costs = ({who: [] for who in fits} for _ in range(2))
    for seed in range(rounds + 1):
        for who in random.Random(seed).sample(list(fits), len(fits)):
            # Scikit-learn warns of samples one by one whose codes it ends early; what they are worth J tells.
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                start = time.perf_counter()
                atoms = fits[who](seed)
                seconds[who].append(time.perf_counter() - start)
            costs[who].append(objective(atoms, x, l1))
    times = Times({who: values[1:] for who, values in seconds.items()})
    return {
        **{f"{who} first s": seconds[who][0] for who in fits},
        **{f"{who} s": times.milliseconds(who) / 1e3 for who in fits},
        "sklearn / tfopt": times.ratio("sklearn", "tfopt"),
        **{f"{who} J": float(np.median(costs[who])) for who in fits},
        "J, tfopt / sklearn": Times(costs).ratio("tfopt", "sklearn"),
    }


def objective(atoms, x, l1):
    """J of given atoms in float64, at codes as good as exact."""
    judge = tfopt.SparseCoding(len(atoms), l1, dtype="float64", code_tolerance=1e-9)
    judge.build(x.shape)
    judge.atoms.assign(atoms)
    return judge.objective(x)
