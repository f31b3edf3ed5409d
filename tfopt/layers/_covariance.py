"""Mean and covariance of data that is read in pieces, in float64."""

import numpy as np
import tensorflow as tf

from tfopt._batches import is_dataset, reader
from tfopt._check import require


class StreamingCovariance:
    """Mean m and scatter matrix S = Σ (x − m)(x − m)ᵀ, piece by piece.

    Two pieces A and B, with δ the difference of their means, join exactly (Chan, Golub and LeVeque)::

        n = n_A + n_B,   m = m_A + δ n_B / n,   S = S_A + S_B + δ δᵀ n_A n_B / n

    which loses no digits to the mean, as Σ x xᵀ − n m mᵀ would. The first piece's mean is the origin, so
    that differences of means are not rounded either.

    Attributes:
        count: n.
        origin: Mean of the first piece, None at first.
        shift: m less the origin.
        scatter: S.
        epsilon: The coarsest rounding of the types the data came in, 0 for integers.
    """

    def __init__(self):
        self.count = 0
        self.origin: np.ndarray | None = None
        self.shift: np.ndarray | float = 0.0
        self.scatter: np.ndarray | float = 0.0
        self.epsilon = 0.0

    def update(self, rows):
        """Take in an array of [samples, features]."""
        self.epsilon = max(self.epsilon, _rounding(rows.dtype))
        rows = rows.astype(np.float64)
        if self.origin is None:
            self.origin = rows.mean(axis=0)
        rows -= self.origin
        count, shift = len(rows), rows.mean(axis=0)
        rows -= shift
        difference, total = shift - self.shift, self.count + count
        self.scatter += rows.T @ rows + np.outer(difference, difference) * (self.count * count / total)
        self.shift = self.shift + difference * (count / total)
        self.count = total

    @property
    def mean(self):
        """m, None at first."""
        return None if self.origin is None else self.origin + self.shift

    @property
    def covariance(self):
        """S / (n − 1)."""
        return self.scatter / (self.count - 1)


def _rounding(dtype):
    """Spacing of numbers near 1."""
    if dtype.kind in "biu":
        return 0.0
    return 2.0**-7 if dtype.name == "bfloat16" else float(np.finfo(dtype).eps)


def rows_of(owner, data):
    """A batch as an array of [samples, features], the features being the last axis."""
    array = data.numpy() if tf.is_tensor(data) else np.asarray(data)
    real = array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
    require(real, owner, "data", f"{array.dtype} values", "real numbers")
    fits = array.ndim >= 1 and array.size > 0
    require(fits, owner, "data", f"shape {array.shape}", "(samples, …, features), none of them 0")
    require(np.isfinite(array).all(), owner, "data", array, "finite numbers")
    return array.reshape(-1, array.shape[-1])


def batches(owner, data, batch_size):
    """Yield the batches of an array, of a dataset or of a PyDataset; of tuples the first component."""
    if is_dataset(data):
        require(batch_size is None, owner, "batch_size", batch_size, "None, as the data brings its own")
        yield from map(_inputs, reader(owner, "data", data)())
    elif batch_size is None:
        yield data
    else:
        for start in range(0, len(data), batch_size):
            yield data[start : start + batch_size]


def _inputs(element):
    return element[0] if isinstance(element, (tuple, list)) else element
