"""Small image sets that need no download, as tensorflow-datasets builders."""

from tfopt.compare.datasets.digits import Digits
from tfopt.compare.datasets.mnist5k import Mnist5k

__all__ = ["Digits", "Mnist5k"]
