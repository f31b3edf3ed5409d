"""tune_init_scale: the scale of each layer's initial weights as a hyper-parameter."""

import tempfile

import keras

from tfopt._check import is_number, require, require_integer, require_positive
from tfopt.initializers import _scales
from tfopt.initializers._tuner import require_tuner, search


def tune_init_scale(
    model,
    x=None,
    y=None,
    *,
    layers=None,
    low=0.1,
    high=10.0,
    trials=20,
    objective=None,
    seed=0,
    verbose=1,
    **fit,
):
    """Search, layer by layer, for the scale of the initial weights, with KerasTuner.

    The usual initializers fix the scale by a rule of thumb; whether it suits a model shows only in training.
    With W_l⁰ the kernels of layer l as they are now, every trial trains the model for a short while from::

        W_l = s_l W_l⁰,   log s_l ~ U(log low, log high)

    so the layers' shares of the scale are chosen together and the random directions stay the same. The first
    trial has s = 1, and nothing worse is ever returned. A trial whose loss is not finite counts as the worst.

    Afterwards the model holds s_l W_l⁰ of the best trial, ready for training; biases, optimizer, seeds and
    moving statistics are what they were. Trials share one compiled train step, so they cost no new tracing.
    Needs the extra `tune`.

    Args:
        model: A compiled and built `keras.Model`, untrained.
        x: As `model.fit` takes it.
        y: As `model.fit` takes it.
        layers: Names of the layers to scale; None for all that have a kernel or embeddings. The name of a
            layer inside another model is "model/layer".
        low: Smallest scale, > 0.
        high: Largest scale, > `low`.
        trials: Number of trials, the one with s = 1 included, at least 2.
        objective: Name of the logged value that is to be small, as it is after the last epoch; None for
            "val_loss" where `fit` makes one, else "loss".
        seed: Integer that fixes the scales tried.
        verbose: 1 shows a progress bar, 0 none.
        **fit: Other arguments of `model.fit`, such as `epochs`, `batch_size` or `validation_data`.

    Returns:
        An `InitScales`: `scales` {layer: s_l}, `value` of the objective there, `untouched` (its value at
        s = 1), and all `trials`; `rich.print` shows it as a table. `apply(model)` scales another model with
        layers of these names.

    Raises:
        ImportError: If KerasTuner is missing.
        ValueError: If an argument lies outside its range, the model is not compiled and built, or no trial
            ended with a finite value.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="line")])
        >>> model.compile("sgd", loss="mse")
        >>> x = np.random.normal(size=(64, 4)).astype("float32")
        >>> found = tfopt.tune_init_scale(
        ...     model, x, 3 * x[:, :1], trials=8, verbose=0)
        >>> found.value <= found.untouched
        True

    Source: Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4; chapter section 9.1, 7.
    """
    owner = "tune_init_scale"
    fits = isinstance(model, keras.Model) and model.built and model.compiled
    require(fits, owner, "model", model, "a built and compiled keras.Model")
    require_positive(owner, low=low)
    require(is_number(high) and high > low, owner, "high", high, "a finite number with high > low")
    require_integer(owner, 2, trials=trials)
    require_integer(owner, 0, seed=seed)
    require_tuner()
    kernels = _scales.chosen_kernels(owner, model, layers)
    trial = _scales.Trial(model, kernels, objective, dict(fit, x=x, y=y))
    bar = keras.utils.Progbar(trials, verbose=verbose, stateful_metrics=["best"], unit_name="trial")
    try:
        with tempfile.TemporaryDirectory() as folder:
            search(trial, list(kernels), (low, high), trials, seed, folder, bar)
    finally:
        trial.restore()
    found = trial.best(owner)
    found.apply(model)
    return found
