"""The data and the model that the command line names."""

import pathlib
import warnings
import zipfile
from typing import Any, NamedTuple

import keras
import numpy as np

from tfopt._check import require


class Data(NamedTuple):
    """Arrays to diagnose with.

    Attributes:
        x: Inputs; a dictionary of arrays where the file has x/NAME.
        y: Targets, likewise; None where there are none.
        sample_weight: Weights, or None.
        total: Samples there are, of which these are some.
    """

    x: Any
    y: Any
    sample_weight: Any
    total: int


def load_model(path):
    """A saved model; ValueError in one line where it cannot be had."""
    require(pathlib.Path(path).exists(), "diagnose", "model", str(path), "a file that exists")
    try:
        with warnings.catch_warnings():
            # Slots of the optimizer are not looked at.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer", UserWarning)
            model = keras.models.load_model(path)
    except Exception as error:  # the archive, the classes, the weights: each has its own error
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(
            f"diagnose(model={str(path)!r}): expected a model that Keras can load (--import names a module "
            f"with its own classes); it says: {said}"
        ) from None
    return model


def load_data(name, model, samples, seed, data_dir=None):
    """`Data` by name: an .npz file, or a data set of `tfopt compare`; at most so many samples, by chance."""
    found = _from_file(name) if str(name).endswith(".npz") else _from_images(name, model, data_dir)
    rng = np.random.default_rng(seed)
    if samples >= found.total:
        return found
    chosen = np.sort(rng.choice(found.total, samples, replace=False))
    x, y, weights = (_map(part, lambda array: array[chosen]) for part in found[:3])
    return Data(x, y, weights, found.total)


def _from_file(name):
    require(pathlib.Path(name).is_file(), "diagnose", "data", name, "a file that exists")
    expected = "an .npz file with arrays x and y, or x/NAME and y/NAME, and maybe sample_weight"
    try:
        with np.load(name, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        said = str(error).splitlines()[0]
        raise ValueError(f"diagnose(data={name!r}): expected {expected}; NumPy says: {said}") from None
    x, y, weights = (_part(arrays, part) for part in ("x", "y", "sample_weight"))
    require(x is not None, "diagnose", "data", name, f"{expected}; it has {', '.join(arrays) or 'none'}")
    parts = [part for nest in (x, y, weights) for part in _leaves(nest)]
    lengths = {part.shape[0] if part.ndim else 0 for part in parts}
    one = len(lengths) == 1 and 0 not in lengths
    require(
        one, "diagnose", "data", name, f"arrays of one number of samples, not {sorted(map(str, lengths))}"
    )
    return Data(x, y, weights, lengths.pop())


def _part(arrays, name):
    if name in arrays:
        return arrays[name]
    nested = {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}
    return nested or None


def _from_images(name, model, data_dir):
    from tfopt.compare.batches import scaled
    from tfopt.compare.images import load_images
    from tfopt.compare.settings import Settings

    try:
        Settings(data=name, evaluations=1)
        images, labels = load_images(name, data_dir).train
    except ValueError as error:
        said = str(error).replace("compare(", "diagnose(", 1).rstrip(".")
        raise ValueError(f"{said}; or a file NAME.npz.") from None
    x, y = scaled(images).numpy(), labels.numpy()
    shape = model.input_shape
    flat = isinstance(shape, tuple) and len(shape) == 2 and shape[1] == np.prod(x.shape[1:])
    return Data(x.reshape(len(x), -1) if flat else x, y, None, len(x))


def _leaves(nest):
    if nest is None:
        return []
    return list(nest.values()) if isinstance(nest, dict) else [nest]


def _map(nest, function):
    if isinstance(nest, dict):
        return {name: function(part) for name, part in nest.items()}
    return None if nest is None else function(nest)
