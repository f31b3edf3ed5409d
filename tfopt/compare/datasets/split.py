"""Fixed, stratified division of a small data set into train, validation and test."""

import numpy as np

SEED = 20240501


def stratified_split(labels, *, validation=0.1, test=0.1, seed=SEED):
    r"""Indices of train, validation and test with every class in the same proportion.

    Within each class the examples are permuted by a seeded generator; the first ⌊validation·n⌋ go to
    validation, the next ⌊test·n⌋ to test, the rest to train. The three parts are disjoint, cover everything
    and are sorted, so the division is a function of the labels and the seed alone.

    Args:
        labels: Integer classes, shape (examples,).
        validation: Share of each class in the validation part.
        test: Share of each class in the test part.
        seed: Seed of the permutation.

    Returns:
        Dictionary of sorted int64 index arrays: "train", "validation", "test".

    Example:
        >>> parts = stratified_split([0] * 10 + [1] * 20)
        >>> [len(parts[name]) for name in ("train", "validation", "test")]
        [24, 3, 3]
    """
    labels = np.asarray(labels)
    random = np.random.default_rng(seed)
    parts: dict[str, list] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        first, second = int(validation * len(members)), int(test * len(members))
        pieces = np.split(members, [first, first + second])
        for name, piece in zip(("validation", "test", "train"), pieces, strict=True):
            parts[name].append(piece)
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in parts.items()}
