"""Data of the tests of sparse coding."""

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def patches():
    """1,000 patches of 5 × 5 pixels that are not blank, each around its mean, [1000, 25] in float64."""
    images = load_digits().images / 16
    windows = np.lib.stride_tricks.sliding_window_view(images, (5, 5), axis=(1, 2))
    drawn = np.random.default_rng(0).permutation(windows.reshape(-1, 25))
    chosen = drawn[drawn.std(axis=1) > 0.1][:1000]
    return chosen - chosen.mean(axis=1, keepdims=True)
