"""Prepared data and small comparisons that several test files share."""

import pytest

from tfopt.compare import compare

SMALL = dict(data="digits", evaluations=10, seeds=2, batch_size=32, points=4, tuning_rates=(0.03, 0.3))
NAMES = ["SGD", "keras:Adam", "PolyakAverage(Momentum)"]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """One folder of prepared data for the whole session."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def small(data_dir):
    """Arguments of a comparison that takes seconds."""
    return SMALL | {"data_dir": data_dir}


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory):
    """A finished comparison and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    return compare(NAMES, output=folder, **small), folder
