"""Image classification data, through tensorflow-datasets, in memory."""

import contextlib
import dataclasses
import io
import logging
import os
import socket
import urllib.parse
import urllib.request
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfopt._check import require
from tfopt.compare import datasets
from tfopt.compare.settings import input_error, near_names

MEMORY_LIMIT = 8 * 2**30
BUILDERS = {"mnist5k": datasets.Mnist5k, "digits": datasets.Digits}


@dataclasses.dataclass(frozen=True)
class Images:
    """Arrays of one data set: uint8 images (examples, height, width, channels) and integer labels.

    Attributes:
        name: As the user wrote it.
        version: Version of the builder.
        classes: Number of classes.
        train: Pair (images, labels); likewise `validation`, and `test`, which may be None.
    """

    name: str
    version: str
    classes: int
    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    test: tuple[Any, Any] | None

    @property
    def shape(self):
        """Shape of one image."""
        return tuple(self.train[0].shape[1:])

    def sizes(self):
        """Number of examples in each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: len(part[1]) for name, part in parts.items() if part is not None}


def load_images(name, data_dir=None):
    r"""Load a data set: prepare it on first use, then read it into memory.

    The parts are the builder's own. Without a validation split the last tenth of train is held out for it;
    without a test split there is none.

    Args:
        name: "mnist5k", "digits", or "tfds:NAME" for anything tensorflow-datasets knows.
        data_dir: Where prepared data live; default is tensorflow-datasets' own folder.

    Returns:
        `Images`.

    Raises:
        ValueError: If the name is unknown, the data are not images of one shape with a label, do not fit in
            memory, cannot be written or cannot be downloaded.

    Example:
        >>> import tempfile
        >>> images = load_images("digits", data_dir=tempfile.mkdtemp())
        >>> images.shape, images.classes, images.sizes()
        ((8, 8, 1), 10, {'train': 1445, 'validation': 176, 'test': 176})
    """
    try:
        builder = _builder(name, data_dir)
        label = _check_features(builder, name)
        _prepare(builder, name)
        _check_size(builder, name)
        parts = {part: _read(builder, split) for part, split in _splits(builder, name).items()}
    except OSError as error:
        raise _error(name, f"a data folder that can be written (--data-dir); {_first_line(error)}") from None
    return Images(
        name=name,
        version=str(builder.version),
        classes=label.num_classes,
        test=parts.pop("test", None),
        **parts,
    )


def _builder(name, data_dir):
    if name in BUILDERS:
        return BUILDERS[name](data_dir=data_dir)
    wanted = name.removeprefix("tfds:")
    try:
        return tfds.builder(wanted, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        near = near_names(wanted, tfds.list_builders())
        hint = f"; did you mean {near}?" if near else ""
        raise _error(name, f"a data set that tensorflow-datasets knows{hint}") from None
    except (ValueError, TypeError, AssertionError, ImportError, RuntimeError) as error:
        raise _error(name, f"a data set that can be built; {_first_line(error)}") from None


def _check_features(builder, name):
    features, keys = builder.info.features, builder.info.supervised_keys
    expected = "images of one shape with a class label, as the pair (image, label)"
    pair = keys is not None and len(keys) == 2 and all(key in features for key in keys)
    require(pair, "compare", "data", name, expected)
    image, label = (features[key] for key in keys)
    fits = isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)
    require(fits and None not in image.shape, "compare", "data", name, expected)
    require(np.dtype(image.np_dtype) == np.uint8, "compare", "data", name, "images of 8 bits per channel")
    return label


def _check_size(builder, name):
    examples = sum(split.num_examples for split in builder.info.splits.values())
    size = examples * int(np.prod(builder.info.features.shape[builder.info.supervised_keys[0]]))
    expected = f"data of at most {MEMORY_LIMIT >> 30} GB in memory, not {size / 2**30:.0f}"
    require(size <= MEMORY_LIMIT, "compare", "data", name, expected)


def _prepare(builder, name):
    if builder.is_prepared():
        return
    if name in BUILDERS:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder.download_and_prepare()
        return
    _check_reachable(builder, name)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        builder.download_and_prepare()
    except Exception as error:  # every builder has its own way to fail
        raise _error(name, f"data that can be downloaded and prepared; {_first_line(error)}") from None


def _check_reachable(builder, name):
    """Fail at once without a network: the downloader itself tries for minutes."""
    if urllib.request.getproxies() or not builder.url_infos:
        return
    host = urllib.parse.urlsplit(next(iter(builder.url_infos))).hostname
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        where = os.fspath(builder.data_dir)
        raise _error(
            name, f"prepared data in {where} (--data-dir) or a network; {host} is out of reach"
        ) from None


def _splits(builder, name):
    available = builder.info.splits
    require("train" in available, "compare", "data", name, "a data set with a train split")
    parts = {"train": "train", "validation": "validation"}
    if "validation" not in available:
        parts = {"train": "train[:90%]", "validation": "train[90%:]"}
    return parts | ({"test": "test"} if "test" in available else {})


def _read(builder, split):
    images, labels = builder.as_dataset(split=split, batch_size=-1, as_supervised=True, shuffle_files=False)
    return images, tf.cast(labels, tf.int32)


def _error(name, expected):
    return input_error("data", name, expected)


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]
