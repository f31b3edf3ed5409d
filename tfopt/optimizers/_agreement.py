"""Whether the workers of a run have made the same optimizer, asked before they wait for gradients.

Unequal ones would hang, where their collectives do not match, or drift apart in silence.
"""

import hashlib
import json
import warnings

import tensorflow as tf

JOBS = ("chief", "worker")


def require_agreement(owner, strategy, describe):
    """Raise ValueError on every worker unless all of them describe the same thing.

    Costs one gathering of 32 bytes from each worker; only where they differ the descriptions themselves go.

    Args:
        owner: Name of the class of this worker's optimizer.
        strategy: The strategy; with fewer than two workers nothing is asked.
        describe: Returns a dict of what has to agree, JSON's types throughout.
    """
    # Within `strategy.run` each replica would have to gather by itself.
    replicated = tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()
    if replicated or _workers(strategy) < 2:
        return
    text = json.dumps(describe(), sort_keys=True).encode()
    digests = _gathered(strategy, hashlib.sha256(text).digest())
    if len(set(_cut(digests, [hashlib.sha256().digest_size] * _workers(strategy)))) == 1:
        return
    lengths = strategy.gather(tf.constant([len(text)]), axis=0).numpy()
    first, *others = map(json.loads, _cut(_gathered(strategy, text), lengths))
    found = [
        f"worker {index} has {_difference(first, other)}"
        for index, other in enumerate(others, 1)
        if other != first
    ]
    raise ValueError(f"{owner}: expected the same optimizer on every worker; {'; '.join(found)}.")


def _workers(strategy):
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(cluster.get(job, ())) for job in JOBS)


def _gathered(strategy, data):
    """The bytes of all workers, one after the other."""
    return bytes(strategy.gather(tf.constant(list(data), tf.int32), axis=0).numpy().astype("uint8"))


def _cut(data, lengths):
    """Consecutive pieces of those lengths."""
    ends = [sum(lengths[: k + 1]) for k in range(len(lengths))]
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _difference(first, other, within=""):
    """The first entry that differs, in words; a class before what belongs to it."""
    for key in sorted(first.keys() | other.keys(), key=lambda key: (not key.startswith("class"), key)):
        ours, theirs = first.get(key), other.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict) and ours != theirs:
            return _difference(ours, theirs, f"{within}{key}.")
        if ours != theirs:
            return f"{within}{key} {theirs!r}, worker 0 {ours!r}"
    return "something else"


def portable_config(optimizer):
    """An optimizer's configuration; empty where it holds something that cannot be written down."""
    with warnings.catch_warnings():
        # Of functions without a name, which need not be loaded again here.
        warnings.simplefilter("ignore")
        try:
            return _portable(optimizer.get_config())
        except (NotImplementedError, OSError, TypeError, ValueError):
            return {}


def _portable(value):
    """A configuration without what may differ between equal workers: names that count, paths of sources."""
    if isinstance(value, dict):
        if value.get("class_name") == "__lambda__":
            return "a function"
        return {key: _portable(item) for key, item in value.items() if key != "name"}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    return value if isinstance(value, (int, float, str, type(None))) else repr(type(value))
