"""Whether weights are still those that an optimizer has shown."""

import zlib

import numpy as np

NONE = 0  # in place of a sum


class Shown:
    """Remembers weights that stand in for the training point, by a checksum of each.

    The sums are part of the state: they are saved with it and come back with the training point.
    """

    def __init__(self, sums):
        self._sums = sums  # integer variable, a place for each trained variable

    def note(self, weights):
        """Remember weights, by their places."""
        self._set({place: _checksum(weight) for place, weight in weights.items()})

    def changed(self, weights):
        """The places of weights that hold something else since; and forget them all."""
        sums = self._sums.numpy()
        self._set(dict.fromkeys(weights, NONE))
        return {p for p in weights if sums[p] != NONE and _checksum(weights[p]) != sums[p]}

    def _set(self, changes):
        sums = np.array(self._sums.numpy())
        for place, value in changes.items():
            sums[place] = value
        self._sums.assign(sums)


def _checksum(weight):
    return NONE + 1 + zlib.crc32(np.ascontiguousarray(weight.numpy()).reshape(-1).view(np.uint8).data)
