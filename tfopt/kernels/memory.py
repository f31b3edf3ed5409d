"""Memory that TensorFlow frees on CPU, kept for what it asks for next."""

import os

from tfopt.kernels import _glue

USE_POOL = "TF_CPU_ALLOCATOR_USE_BFC"
LIMIT = "TF_CPU_BFC_MEM_LIMIT_IN_MB"
BYTES_PER_MEBIBYTE = 2**20


def keep_memory(limit=None):
    """Have TensorFlow keep the memory of freed tensors on CPU, where it hands large ones back to the system.

    A tensor of more than 32 MB, or XLA's one block for all that a compiled step needs where it is larger than
    that, comes from the system anew in every step, which clears it page by page: often longer than the work
    on it takes. TensorFlow has an allocator that keeps freed memory instead, the one that it uses on GPUs;
    this switches it on by the environment variables ``TF_CPU_ALLOCATOR_USE_BFC`` and
    ``TF_CPU_BFC_MEM_LIMIT_IN_MB``, for this process and those that it starts from now on. All of TensorFlow
    gets faster where tensors are large. A second call with the same limit does nothing.

    What lies on a GPU or TPU is kept in any case, and on CPU too where TensorFlow's oneDNN operations are on:
    by default on processors with AVX-512 VNNI, or with ``TF_ENABLE_ONEDNN_OPTS=1``.

    What was kept goes back to the system when the process ends. Do without where other programs need that
    memory, or where many threads ask for small tensors at the same time, as they all wait for one lock.

    Args:
        limit: Bytes that TensorFlow may hold on CPU, at least 1 MiB, rounded down to whole MiB; beyond them
            a step ends with ResourceExhaustedError. It asks for regions that double, so that a limit should
            be twice what is in use at once. None: what the machine has.

    Raises:
        RuntimeError: If TensorFlow has made its devices, with the first tensor or the first question for
            them; it chooses then how memory is kept. Nothing is changed.
        ValueError: For a limit that is not such a number.

    Example:
        Before anything else is done with TensorFlow:

        >>> import subprocess, sys
        >>> program = "import keras, tfopt; tfopt.kernels.keep_memory(); print(float(keras.ops.sum([1, 2])))"
        >>> float(subprocess.run([sys.executable, "-c", program], capture_output=True).stdout)
        3.0

    Source: TensorFlow, ``tensorflow/core/common_runtime/process_state.cc``.
    """
    settings = {USE_POOL: "true", LIMIT: str(_mebibytes(limit))}
    if settings.items() <= os.environ.items():
        return
    if _glue.devices_are_made():
        raise RuntimeError(
            "keep_memory() must be called before TensorFlow makes its devices: before the first tensor, "
            "variable, layer or strategy. Call it right behind the imports."
        )
    os.environ.update(settings)


def _mebibytes(limit):
    if limit is None:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= BYTES_PER_MEBIBYTE:
        raise ValueError(
            f"limit must be None or a number of bytes of at least {BYTES_PER_MEBIBYTE}, got {limit!r}."
        )
    if limit == float("inf"):
        raise ValueError("limit must be finite or None, which stands for what the machine has; got inf.")
    return int(limit) // BYTES_PER_MEBIBYTE
