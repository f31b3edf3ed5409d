"""Adam's rule as TensorFlow exported it, run by JAX; see export.py. It needs flatbuffers too."""

import lzma
import os

import numpy as np

from benchmarks.device import _sets

# JAX shares the card with PyTorch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

try:
    import flatbuffers  # noqa: F401  JAX reads exported functions with it
    import jax
    from jax import export
except ImportError as error:
    jax, MISSING = None, str(error)

RATE = 1e-3
SCALARS = np.array([0.1, 0.001, RATE, 1e-8], np.float32)


class Exported:
    """A contender: one update of arrays that JAX holds; weights and slots give their buffers away."""

    def __init__(self, name, device, shapes):
        packed = (_sets.EXPORTED / f"{name}.xz").read_bytes()
        count = len(shapes)
        call = export.deserialize(bytearray(lzma.decompress(packed))).call
        self.step = jax.jit(call, donate_argnums=range(count, 4 * count))
        self.device = jax.devices("gpu" if device == "cuda" else "cpu")[0]
        rng = np.random.default_rng(0)
        columns = [[rng.standard_normal(shape, np.float32) for shape in shapes] for _ in range(3)]
        columns.append([rng.random(shape, np.float32) for shape in shapes])
        self.gradients, *self.state = (self.put(column) for column in columns)
        self.state = [x for column in self.state for x in column]
        self.scalars = self.put(SCALARS)

    def put(self, values):
        """Arrays on the device."""
        return jax.device_put(values, self.device)

    def __call__(self):
        self.state = self.step(*self.gradients, *self.state, self.scalars)
        return self.state


def load(name, device, shapes):
    """The exported update of a set of variables, or None where JAX, or the device, is not there."""
    return Exported(name, device, shapes) if reason(device) == "" else None


def reason(device):
    """Why nothing exported can run; empty if it can."""
    if jax is None:
        return MISSING
    try:
        jax.devices("gpu" if device == "cuda" else "cpu")
    except RuntimeError as error:
        return f"JAX finds no device: {error}"
    return ""


def wait(result):
    """Return when what a contender returned is computed."""
    if isinstance(result, list) and jax is not None:
        jax.block_until_ready(result)


def check(device):
    """Compare the exported update with NumPy's on a few tensors; "equal", or why it did not run."""
    why = reason(device)
    if why:
        return why
    made = Exported("smoke", device, _sets.SMOKE)
    count = len(_sets.SMOKE)
    before = [np.asarray(x, np.float64) for x in (*made.gradients, *made.state)]
    after = made()
    for i in range(count):
        g, p, m, v = (before[k * count + i] for k in range(4))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = p - RATE * m / (np.sqrt(v) + 1e-8), m, v
        for k, value in enumerate(expected):
            np.testing.assert_allclose(after[k * count + i], value, rtol=2e-6, atol=2e-6)
    return "equal"
