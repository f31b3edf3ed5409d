"""Products of long vectors, summed in float64 whatever the vectors are."""

import contextlib
import threading
from typing import Any, NamedTuple

import tensorflow as tf

from tfopt.kernels import rows as kernels
from tfopt.kernels._glue import compiled_by_xla
from tfopt.optimizers._machine import Row
from tfopt.repair._glue import graphs_around

_CHUNK = 32  # rows of a matrix made at once
_PRECISION = {
    tf.float64: 2.0**-52,
    tf.float32: 2.0**-23,
    tf.float16: 2.0**-10,
    tf.bfloat16: 2.0**-7,
}


class _Place(threading.local):
    """Where the vectors at hand live, and whether kernels are wanted there."""

    device = None
    fused = True


_place = _Place()


@contextlib.contextmanager
def placed(device, fused):
    """Within it, vectors are on this device, and kernels serve where `fused` is true and there are any."""
    before = _place.device, _place.fused
    _place.device, _place.fused = device, fused
    try:
        yield
    finally:
        _place.device, _place.fused = before


def dot(a, b):
    """aᵀb as a float64 scalar."""
    return tf.reshape(products([a], [b]), [])


def products(rows, vectors):
    """Each row of some vectors and matrices times each of some vectors: float64, [rows, vectors]."""
    ops = _ops(vectors[0].dtype)
    if ops is not None:
        return kernels.products(ops, rows, vectors)
    columns = tf.stack([tf.cast(v, tf.float64) for v in vectors], axis=1)
    return tf.concat([tf.linalg.matmul(tf.cast(_matrix(row), tf.float64), columns) for row in rows], axis=0)


def combine(factors, rows):
    """Σ factorᵢ rowᵢ over the rows of vectors and matrices; a vector whose factor is 0 does not matter."""
    ops = _ops(rows[0].dtype)
    if ops is not None:
        return kernels.combination(ops, factors, rows)
    counts = [_matrix(row).shape[0] for row in rows]
    parts = zip(tf.split(factors, counts), rows, strict=True)
    return tf.add_n([_multiples(own, row) for own, row in parts])


class Moved(NamedTuple):
    """From iterate to iterate: s, y and what is to be known of them.

    Attributes:
        s: Difference of the iterates.
        y: Difference of the gradients.
        products: Of some rows, s and y with y and the gradient: float64, [rows + 2, 2].
        ss: sᵀs, float64.
        largest: Absolute component of the gradient, float64, unless one is NaN.
    """

    s: Any
    y: Any
    products: Any
    ss: Any
    largest: Any


def moved(rows, point, iterate, gradient, last_gradient):
    """All of `Moved`, in one pass where there is a kernel."""
    ops = _ops(gradient.dtype)
    if ops is not None and not compiled_by_xla():
        return Moved(*kernels.move(ops, rows, point, iterate, gradient, last_gradient))
    s, y = point - iterate, gradient - last_gradient
    return Moved(s, y, products([*rows, s, y], [y, gradient]), dot(s, s), largest(gradient))


def descent(factors, rows, gradient):
    """d = Σ factorᵢ rowᵢ as `combine`, dᵀg and dᵀd."""
    ops = _ops(gradient.dtype)
    if ops is not None and not compiled_by_xla():
        d, found = kernels.descent(ops, factors, rows, gradient)
        return (d, *tf.unstack(found))
    d = combine(factors, rows)
    return (d, *lies(d, gradient))


def lies(d, gradient):
    """dᵀg and dᵀd."""
    return tf.unstack(products([gradient, d], [d])[:, 0])


def either(condition, yes, no):
    """``yes()`` or ``no()``, structures alike; XLA selects, where a branch would copy what passes through it.

    A row to be left as it is may have any value, so of two rows only the index is chosen.
    """
    if not compiled_by_xla():
        return tf.cond(condition, yes, no)
    return _chosen(condition, yes(), no())


def rows_of(variable):
    """A matrix for `products` and `combine`: the variable itself where they read it without a copy."""
    in_place = _ops(variable.dtype) is not None and not compiled_by_xla()
    return variable if in_place else tf.convert_to_tensor(variable)


def write_row(variable, index, row):
    """Replace one row of a variable, in place; nothing where `index` is negative."""
    ops = _ops(variable.dtype)
    if ops is not None:
        kernels.write(ops, variable, index, row)
        return
    put = lambda: variable.scatter_update(tf.IndexedSlices(row[None], index[None])) is not None  # noqa: E731
    tf.cond(index < 0, lambda: True, put)


def _loops_keep_steps(graph):
    """Whether a graph or one around it has lists, in which a loop such as an RNN's keeps its steps.

    TensorFlow's vectorised form of a list has a size that XLA cannot tell.
    """
    return any("TensorList" in op.type for around in graphs_around(graph) for op in around.get_operations())


def _ops(dtype):
    """The ops that serve vectors of a type here, or None."""
    return kernels.ops_for(_place.device) if _place.fused and dtype in kernels.DTYPES else None


def _chosen(condition, yes, no):
    if isinstance(yes, Row):
        return Row(tf.where(condition, yes.index, no.index), yes.value)
    if isinstance(yes, dict):
        return {name: _chosen(condition, value, no[name]) for name, value in yes.items()}
    if isinstance(yes, tuple):
        return tuple(_chosen(condition, *pair) for pair in zip(yes, no, strict=True))
    return tf.where(condition, yes, no)


def _matrix(row):
    return row[None] if row.shape.rank == 1 else row


def _multiples(factors, row):
    if row.shape.rank == 2:
        return tf.linalg.matvec(row, tf.cast(factors, row.dtype), transpose_a=True)
    factor = tf.reshape(factors, [])
    return tf.where(tf.equal(factor, 0.0), tf.zeros_like(row), scaled(factor, row))


def scaled(factor, vector):
    """A float64 scalar times a vector, in the vector's dtype."""
    return tf.cast(factor, vector.dtype) * vector


def precision(dtype):
    """The relative precision of a dtype, a Python number."""
    return _PRECISION[dtype]


def largest(vector):
    """The largest absolute component, as a float64 scalar."""
    # Not of |vector|, which would be a vector more.
    return tf.cast(tf.maximum(tf.reduce_max(vector), -tf.reduce_min(vector)), tf.float64)


def opaque(*tensors):
    """The tensors, unchanged.

    Where XLA compiles a branch it asks whether the condition may change from run to run, and to find out
    evaluates everything the condition depends on, element by element: for a loss all of the model, which
    takes minutes. What comes out of a loop it takes to be unknown. (The loop runs once, and XLA takes it
    apart.)
    """
    # Outside graphs a Python bool would stay one, of which ~ is never false.
    turns = tf.constant([True, False])
    loop = tf.while_loop(lambda again, *_: again, lambda _, *same: (turns[1], *same), (turns[0], *tensors))
    return loop[1:]


def dense(product, size, dtype):
    """The symmetric matrix behind ``product(vector)``, by products with the unit vectors."""
    together = not (compiled_by_xla() and _loops_keep_steps(tf.compat.v1.get_default_graph()))
    chunk = _CHUNK if together else 1
    first = tf.range(0, size, chunk)

    def rows(start):
        units = tf.one_hot(start + tf.range(chunk), size, dtype=dtype)
        return tf.vectorized_map(product, units) if together else product(units[0])[None]

    matrix = tf.reshape(tf.map_fn(rows, first, fn_output_signature=dtype), [-1, size])[:size]
    matrix = tf.ensure_shape(matrix, [size, size])
    return 0.5 * (matrix + tf.transpose(matrix))
