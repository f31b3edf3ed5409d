"""Products and sums of long vectors, each read once, in double.

Rows are given as a list of vectors and matrices; a matrix may be a variable, which is then read in the moment
it is needed, so that `write` need not copy it.
"""

import itertools

import tensorflow as tf

from tfopt.kernels import library, registry
from tfopt.kernels._glue import compiled_by_xla
from tfopt.kernels._gradients import kind_of

DTYPES = (tf.float32, tf.float64)


def ops_for(device=None, on_gpus=False):
    """The library's ops where they serve tensors of a device, in the graph being traced; None elsewhere.

    Args:
        device: Name of the device; None where it is not known yet.
        on_gpus: Whether the library for GPUs has kernels of the ops that are to be used.
    """
    if registry.switched_off():
        return None
    loaded = library.load()
    if compiled_by_xla():
        return None if loaded.lowering_reason else loaded.ops
    served = _on_cpu(device) or (on_gpus and not loaded.gpu_reason and _on_gpu(device))
    return loaded.ops if served else None


def products(ops, rows, vectors):
    """Each row times each vector: float64, [all rows, vectors]."""
    held, tensors = _sorted(rows)
    return ops.tfopt_row_products(variables=held, rows=tensors, vectors=vectors)


def combination(ops, factors, rows):
    """Σ factorᵢ rowᵢ, `factors` a float64 vector; a row whose factor is 0 may hold anything."""
    held, tensors = _sorted(rows)
    return ops.tfopt_row_combination(variables=held, rows=tensors, factors=factors)


def move(ops, rows, point, iterate, gradient, last_gradient):
    """s and y from an iterate to the next point, and what is to be known of them.

    Not under XLA, which is given the parts.

    Returns:
        s; y; products of each row, s and y with y and the gradient, float64, [rows + 2, 2]; sᵀs; the
        gradient's largest absolute component, if none is NaN.
    """
    held, tensors = _sorted(rows, typed=True)
    return ops.tfopt_row_move(
        variables=held,
        rows=tensors,
        point=point,
        iterate=iterate,
        gradient=gradient,
        last_gradient=last_gradient,
    )


def descent(ops, factors, rows, gradient):
    """d = Σ factorᵢ rowᵢ as `combination`, with dᵀg and dᵀd in a float64 vector; not under XLA."""
    held, tensors = _sorted(rows)
    return ops.tfopt_row_descent(variables=held, rows=tensors, factors=factors, gradient=gradient)


def write(ops, variable, index, row):
    """Replace row `index` of a native variable; nothing where `index` is negative."""
    return ops.tfopt_write_row(variable=variable.handle, index=index, row=row)


def _sorted(rows, typed=False):
    """Handles of the variables that come first, and the others as tensors; one, unless the op is `typed`."""
    first = rows if typed else rows[:-1]
    held = [v.handle for v in itertools.takewhile(lambda row: isinstance(row, tf.Variable), first)]
    return held, [tf.convert_to_tensor(row) for row in rows[len(held) :]]


def _on_cpu(device):
    if device is None:
        return not tf.config.list_physical_devices("GPU")
    return kind_of(device) in ("CPU", None)


def _on_gpu(device):
    """Whether a tensor is on a GPU, or may be: where there is one TensorFlow puts operations there."""
    return device is None or kind_of(device) == "GPU"
