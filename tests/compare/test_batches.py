"""Order of the minibatches."""

import itertools

import numpy as np

from tfopt.compare.batches import endless_batches

IMAGES = np.arange(0, 250, 25, dtype=np.uint8).reshape(10, 1, 1, 1)
LABELS = np.arange(10)


def order(seed, batches):
    data = endless_batches(IMAGES, LABELS, 4, seed)
    return [labels.numpy().tolist() for _, labels in data.take(batches)]


def test_every_pass_is_a_permutation_and_passes_differ():
    flat = list(itertools.chain(*order(seed=3, batches=10)))
    passes = [flat[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4


def test_order_is_a_function_of_the_seed():
    assert order(seed=1, batches=5) == order(seed=1, batches=5)
    assert order(seed=1, batches=5) != order(seed=2, batches=5)


def test_iterating_again_starts_again():
    data = endless_batches(IMAGES, LABELS, 4, seed=1)
    first, again = ([labels.numpy().tolist() for _, labels in data.take(3)] for _ in range(2))
    assert first == again


def test_images_are_scaled_and_stay_with_their_labels():
    for images, labels in endless_batches(IMAGES, LABELS, 4, seed=1).take(3):
        np.testing.assert_allclose(images[:, 0, 0, 0], labels.numpy() * 25 / 255, rtol=1e-6)
