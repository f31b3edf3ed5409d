"""Whether weights are still those that an optimizer has shown."""

import zlib

import numpy as np


class Shown:
    """Remembers weights that stand in for the training point by a checksum of each."""

    def __init__(self):
        self._sums = {}

    def note(self, weights):
        """Remember weights, by their places."""
        self._sums |= {place: _checksum(weight) for place, weight in weights.items()}

    def changed(self, weights):
        """The places of weights that hold something else since; and forget them all."""
        sums = {place: self._sums.pop(place, None) for place in weights}
        return {p for p, noted in sums.items() if noted is not None and _checksum(weights[p]) != noted}


def _checksum(weight):
    return zlib.crc32(np.ascontiguousarray(weight.numpy()).reshape(-1).view(np.uint8).data)
