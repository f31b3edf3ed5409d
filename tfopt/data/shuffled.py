"""A data set in random order, shuffled once and kept on disk."""

import atexit
import contextlib
import importlib
import io
import json
import os
import pathlib
import shutil
import tempfile

import tensorflow as tf

from tfopt._batches import is_endless
from tfopt._check import require, require_integer
from tfopt.data import _nest_codec

_FOLDER = "shuffled"
_NAME = "elements"
_VERSION = "1.0.0"
_SPLIT = "stored"
_FORMAT = 1


def _tfds():
    # tensorflow-datasets uses importlib_resources without naming it among its requirements.
    packages = ("importlib_resources", "tensorflow_datasets")
    try:
        return [importlib.import_module(package) for package in packages][-1]
    except ImportError as error:
        raise ImportError(f"data.shuffled needs the packages: pip install {' '.join(packages)}") from error


def _temporary_directory():
    directory = tempfile.mkdtemp(prefix="tfopt-shuffled-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _recipe(dataset, seed, shards):
    """Return what a stored data set has to agree with; an unknown count is None."""
    cardinality = int(dataset.cardinality())
    return {
        "format": _FORMAT,
        "elements": _nest_codec.describe(dataset.element_spec),
        "seed": seed,
        "shards": shards,
        "count": cardinality if cardinality >= 0 else None,
    }


def _require_fit(record, recipe, directory):
    differing = [
        f"{key} {record.get(key)!r} instead of {wanted!r}"
        for key, wanted in recipe.items()
        if record.get(key) != wanted and not (key == "count" and wanted is None)
    ]
    require(
        not differing,
        "shuffled",
        "directory",
        str(directory),
        "a directory without a stored data set, one made with the same arguments, or overwrite=True; "
        f"the one there has {'; '.join(differing)}",
    )


def _read_record(path):
    """Return the record written after a complete store, or None if there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def _write_record(path, record):
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1))
    os.replace(partial, path)


def _require_elements(dataset):
    require(not is_endless(dataset), "shuffled", "dataset", dataset, "a finite dataset")
    empty = next(iter(dataset.take(1)), None) is None
    require(not empty, "shuffled", "dataset", dataset, "at least one element")


def _keyed_examples(dataset, seed):
    """Yield (key, example); the order on disk is that of a 128-bit hash of the key."""
    encoded = dataset.map(_nest_codec.encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    for index, example in enumerate(encoded.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()):
        yield f"{seed}/{index}", {"element": example}


def _store(dataset, directory, seed, shards):
    """Write the shuffled shards and return how many elements they hold."""
    tfds = _tfds()
    components = len(tf.nest.flatten(dataset.element_spec))
    features = tfds.features.FeaturesDict(
        {"element": tfds.features.Tensor(shape=(components,), dtype=tf.string)}
    )
    # The builder announces a download on stdout, which there is none of; its progress bar goes to stderr.
    with contextlib.redirect_stdout(io.StringIO()):
        builder = tfds.dataset_builders.store_as_tfds_dataset(
            name=_NAME,
            version=_VERSION,
            features=features,
            split_datasets={_SPLIT: _keyed_examples(dataset, seed)},
            data_dir=directory / _FOLDER,
            description="A data set in random order.",
            download_config=tfds.download.DownloadConfig(num_shards=shards),
        )
    return builder.info.splits[_SPLIT].num_examples


def _load(directory, element_spec):
    """Return the stored elements in stored order."""
    tfds = _tfds()
    builder = tfds.builder_from_directory(str(directory / _FOLDER / _NAME / _VERSION))
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    config.options.deterministic = True
    # By files, every worker would see other samples, in an order of its own.
    config.options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    stored = builder.as_dataset(split=_SPLIT, shuffle_files=False, read_config=config)
    decode = _nest_codec.decoder(element_spec)
    return stored.map(
        lambda example: decode(example["element"]), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def shuffled(dataset, directory=None, seed=0, shards=None, overwrite=False):
    """Shuffle a data set once, completely, and read it from disk in that order ever after.

    Stored data are often sorted: neighbouring samples come from one class, one household, one day.
    Minibatches of neighbours are correlated, and `Dataset.shuffle(buffer_size)` mixes no farther than its
    buffer reaches. Here any element may come to any place, whatever the size of the set, and over the seeds
    all n! orders are as good as equally likely: elements are sorted by a hash of (seed, position). Sets up to
    about 1 GB are sorted in memory; larger ones are first dealt out to a thousand buckets on disk, by the
    same hash, and sorted one bucket at a time. tensorflow-datasets does this and writes the shards.

    Elements are moved as they are, so shuffle samples and batch afterwards. The directory takes about the
    size of the elements. Once complete it is read instead of `dataset`, provided that structure, dtypes,
    shapes, seed, number of shards and, where known, number of elements are the same. The values are not
    compared: after a change of the data pass `overwrite=True`. A directory left half-written is written anew.
    Several processes must not write to the same directory at once.

    Args:
        dataset: Finite `tf.data.Dataset`; its elements are any nest of dense tensors of any dtype and shape,
            also strings, bool, bfloat16 and shapes that vary.
        directory: Where to keep it; None means a temporary directory that is removed when Python ends.
        seed: Integer >= 0 that fixes the order.
        shards: Number of files; None lets tensorflow-datasets choose by size.
        overwrite: Whether to write anew what is stored in `directory`.

    Returns:
        A `tf.data.Dataset` with the same `element_spec` and a known cardinality, in the same order at every
        pass.

    Raises:
        ValueError: If `dataset` is empty, infinite or holds other than dense tensors, or `directory` holds a
            data set that was made otherwise.
        ImportError: If tensorflow-datasets or importlib_resources is missing.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> mixed = tfopt.data.shuffled(tf.data.Dataset.range(6), seed=1)
        >>> order = [int(element) for element in mixed]
        >>> sorted(order), order == [int(element) for element in mixed]
        ([0, 1, 2, 3, 4, 5], True)

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.1.3, on shuffling once and storing;
    Rao, Randomisation and Permutation by Random Digits (1961), and Sandelius, A Simple Randomization
    Procedure (1962), for random buckets permuted one by one.
    """
    require(isinstance(dataset, tf.data.Dataset), "shuffled", "dataset", dataset, "a tf.data.Dataset")
    require_integer("shuffled", 0, seed=seed)
    if shards is not None:
        require_integer("shuffled", 1, shards=shards)
    _nest_codec.require_dense("shuffled", dataset)
    directory = pathlib.Path(_temporary_directory() if directory is None else directory)
    record_path = directory / f"{_FOLDER}.json"
    recipe = _recipe(dataset, seed, shards)
    record = None if overwrite else _read_record(record_path)
    if record is not None:
        _require_fit(record, recipe, directory)
        return _load(directory, dataset.element_spec)
    _require_elements(dataset)
    record_path.unlink(missing_ok=True)
    shutil.rmtree(directory / _FOLDER, ignore_errors=True)
    count = _store(dataset, directory, seed, shards)
    _write_record(record_path, {**recipe, "count": count})
    return _load(directory, dataset.element_spec)
