"""Products and sums of rows: every type, size, instruction set and kind of graph; what they refuse."""

import functools
import re
import threading
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import rows
from tfopt.optimizers import _vectors

DTYPES = (tf.float32, tf.float64)
# Around a register, a stretch and a block.
SIZES = (1, 3, 4, 15, 16, 17, 1023, 1025, 4096, 4097, 70_001)
WRAPS = {
    "eager": lambda f: f,
    "graph": lambda f: tf.function(f, autograph=False),
    "jit": lambda f: tf.function(f, autograph=False, jit_compile=True),
}


@pytest.fixture
def ops(loaded):
    """The library's ops."""
    return loaded.ops


@pytest.fixture(params=WRAPS)
def wrap(request):
    """Makes a function run in each of the ways there are."""
    if request.param == "jit":
        request.getfixturevalue("lowering")
    return WRAPS[request.param]


def draw(dtype, *shape, seed=0):
    return tf.constant(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def wide(rows):
    return np.concatenate([np.atleast_2d(np.asarray(r, np.float64)) for r in rows])


def problem(dtype, n):
    """Two matrices and two vectors as rows, and three vectors."""
    given = [draw(dtype, 3, n), draw(dtype, 5, n, seed=1), draw(dtype, n, seed=2), draw(dtype, n, seed=3)]
    return given, [draw(dtype, n, seed=k) for k in (4, 5, 6)]


def assert_products(found, given, vectors):
    left, right = wide(given), wide(vectors)
    # Of sums of n numbers in double, whichever the order.
    bound = 1e-15 * len(vectors[0]) ** 0.5 * (np.abs(left) @ np.abs(right).T) + 1e-300
    assert found.dtype == tf.float64
    assert np.all(np.abs(found - left @ right.T) <= bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_products_are_exact_but_for_rounding(ops, instructions, dtype, n, count):
    given, vectors = problem(dtype, n)
    assert_products(rows.products(ops, given, vectors[:count]), given, vectors[:count])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_a_sum_of_rows_is_rounded_once(ops, instructions, dtype, n, count):
    given = [draw(dtype, 3, n), *(draw(dtype, n, seed=k) for k in range(7))][: max(1, count - 2)]
    factors = np.random.default_rng(0).normal(size=len(wide(given)))
    found = rows.combination(ops, tf.constant(factors), given)
    assert found.dtype == dtype
    exact = factors @ wide(given)
    size = np.abs(factors) @ np.abs(wide(given))
    np.testing.assert_array_less(
        np.abs(found - exact),
        0.51 * np.finfo(dtype.as_numpy_dtype).eps * np.abs(exact) + 2e-15 * size + 1e-300,
    )


def ends(dtype, n):
    """Point, iterate, and the gradients at both."""
    return [draw(dtype, n, seed=k) for k in (7, 8, 9, 10)]


def assert_moved(found, given, point, iterate, gradient, last_gradient):
    s, y, products, ss, largest = found
    np.testing.assert_array_equal(s, point - iterate)
    np.testing.assert_array_equal(y, gradient - last_gradient)
    assert_products(products, [*given, s, y], [y, gradient])
    assert_products(tf.reshape(ss, [1, 1]), [s], [s])
    assert largest == np.abs(gradient).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_move_is_two_differences_and_what_is_asked_of_them(ops, instructions, dtype, n, held):
    given, _ = problem(dtype, n)
    given = [tf.Variable(r) for r in given[:held]] + given[held : 2 * held]
    assert_moved(rows.move(ops, given, *ends(dtype, n)), given, *ends(dtype, n))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("held", [0, 2])
def test_a_descent_is_a_sum_and_how_it_lies_to_the_gradient(ops, instructions, dtype, n, held):
    given, (gradient, *_) = problem(dtype, n)
    given = [tf.Variable(r) for r in given[:held]] + given[held:]
    factors = draw(tf.float64, 10)
    d, found = rows.descent(ops, factors, given, gradient)
    np.testing.assert_array_equal(d, rows.combination(ops, factors, given))
    assert_products(found[None], [d], [gradient, d])


@pytest.mark.parametrize("dtype", DTYPES)
def test_moves_and_descents_are_the_same_in_every_graph_and_in_python(ops, wrap, dtype):
    given, (gradient, *_) = problem(dtype, 5000)
    factors = draw(tf.float64, 10)
    held = [tf.Variable(given[0])]
    move = lambda: _vectors.moved(held, *ends(dtype, 5000))  # noqa: E731
    descent = lambda: _vectors.descent(factors, given, gradient)  # noqa: E731
    with _vectors.placed(None, fused=False):
        python = move(), descent()
        assert_moved(python[0], held, *ends(dtype, 5000))
    assert_moved(wrap(move)(), held, *ends(dtype, 5000))
    for ours, theirs in zip(wrap(descent)(), python[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 17, 5000])
@pytest.mark.parametrize("held", [0, 1, 2, 4])
def test_every_graph_and_the_python_arithmetic_agree(ops, wrap, dtype, n, held):
    given, vectors = problem(dtype, n)
    given = [tf.Variable(r) for r in given[:held]] + given[held:]
    factors = draw(tf.float64, 10)
    product = wrap(lambda: _vectors.products(given, vectors))
    total = wrap(lambda: _vectors.combine(factors, given))
    assert_products(product(), given, vectors)
    with _vectors.placed(None, fused=False):
        python = _vectors.combine(factors, given)
        assert_products(_vectors.products(given, vectors), given, vectors)
    tolerance = 20 * np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(total(), python, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_xlas_own_operations_compute_the_same(ops, portably, dtype):
    given, vectors = problem(dtype, 333)
    factors = draw(tf.float64, 10)
    jit = WRAPS["jit"]
    assert_products(portably(jit(lambda: rows.products(ops, given, vectors))), given, vectors)
    found = portably(jit(lambda: rows.combination(ops, factors, given)))
    np.testing.assert_allclose(found, factors.numpy() @ wide(given), rtol=1e-6, atol=1e-6)


def test_a_compiled_program_calls_the_kernels(ops, lowering):
    given, vectors = problem(tf.float32, 9)

    @tf.function(jit_compile=True, autograph=False)
    def step():
        found = rows.products(ops, given, vectors)
        return rows.combination(ops, found[:, 0], given)

    text = step.experimental_get_compiler_ir()(stage="hlo")
    assert text.count('custom_call_target="tfopt_row_products"') == 1
    assert text.count('custom_call_target="tfopt_row_combination"') == 1


@pytest.mark.parametrize("name", WRAPS)
def test_a_row_without_a_factor_does_not_matter(ops, portably, name):
    given = [tf.constant([[np.nan, np.inf], [1.0, 2.0]]), tf.constant([np.inf, np.nan])]
    total = WRAPS[name](lambda: rows.combination(ops, tf.constant([0.0, 2.0, 0.0], tf.float64), given))
    np.testing.assert_array_equal(total(), [2.0, 4.0])
    if name == "jit":
        again = WRAPS[name](lambda: rows.combination(ops, tf.constant([0.0, 2.0, 0.0], tf.float64), given))
        np.testing.assert_array_equal(portably(again), [2.0, 4.0])


def test_what_is_not_finite_shows(ops):
    for bad in (np.nan, np.inf):
        spoilt = tf.tensor_scatter_nd_update(tf.ones(5000), [[4999]], [bad])
        assert not np.isfinite(rows.products(ops, [spoilt], [tf.ones(5000)])[0, 0])
        assert not np.isfinite(rows.combination(ops, tf.ones(1, tf.float64), [spoilt])[4999])


@pytest.mark.parametrize("n", [70_001, 300_000])
def test_float32_is_summed_alike_by_every_instruction_set_and_number_of_threads(ops, native, n):
    given, vectors = problem(tf.float32, n)
    alone = rows.products(ops, given, vectors).numpy()
    total = rows.combination(ops, tf.ones(10, tf.float64), given).numpy()
    moved = rows.move(ops, given, *ends(tf.float32, n))
    before = native.tfopt_instructions()
    for name in (b"baseline", b"avx2", b"avx512"):
        if native.tfopt_use_instructions(name):
            for _ in range(5):
                np.testing.assert_array_equal(rows.products(ops, given, vectors), alone)
                np.testing.assert_array_equal(rows.combination(ops, tf.ones(10, tf.float64), given), total)
                for again, part in zip(rows.move(ops, given, *ends(tf.float32, n)), moved, strict=True):
                    np.testing.assert_array_equal(again, part)
                _, found = rows.descent(ops, tf.ones(10, tf.float64), given, vectors[0])
                np.testing.assert_array_equal(found[0], rows.products(ops, [total], vectors[:1])[0, 0])
    native.tfopt_use_instructions(before)


def test_products_do_not_depend_on_what_is_beside_them(ops):
    given, vectors = problem(tf.float32, 9_000)
    whole = rows.products(ops, given, vectors).numpy()
    single = [
        [rows.products(ops, [r], [v]).numpy()[0, 0] for v in vectors]
        for r in tf.concat(list(map(as_matrix, given)), 0)
    ]
    np.testing.assert_array_equal(whole, single)


def as_matrix(row):
    return row[None] if row.shape.rank == 1 else row


# -- One row of a variable ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 17, 400_000])
@pytest.mark.parametrize("index", [-1, 0, 2])
def test_one_row_is_written(ops, wrap, dtype, n, index):
    before, row = draw(dtype, 3, n), draw(dtype, n)
    variable = tf.Variable(before)
    wrap(lambda i: rows.write(ops, variable, i, row) and None)(tf.constant(index))
    expected = before.numpy()
    if index >= 0:
        expected[index] = row
    np.testing.assert_array_equal(variable, expected)


def test_who_holds_the_value_keeps_it(ops):
    variable = tf.Variable(draw(tf.float32, 3, 5))
    held = variable.read_value()
    before = held.numpy().copy()
    rows.write(ops, variable, 1, tf.zeros(5))
    np.testing.assert_array_equal(held, before)
    np.testing.assert_array_equal(variable[1], np.zeros(5))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_row_written_after_products_in_one_step_is_not_in_them(ops, lowering, jit_compile):
    variable, row = tf.Variable(tf.ones((3, 5000))), tf.fill(5000, 2.0)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def step():
        old = _vectors.rows_of(variable)
        before = _vectors.products([old], [row])
        rows.write(ops, variable, 1, row)
        total = _vectors.combine(tf.ones(3, tf.float64), [_vectors.rows_of(variable)])
        return before, total

    before, total = step()
    np.testing.assert_array_equal(before, np.full((3, 1), 10_000.0))
    np.testing.assert_array_equal(total, np.full(5000, 4.0))


def test_a_row_is_written_where_the_variable_lies(ops):
    variable = tf.Variable(tf.zeros((2, 1000)))
    rows.write(
        ops, variable, 0, tf.ones(1000)
    )  # The first time nobody can know who else has the initial value.
    place = address(variable)

    @tf.function(autograph=False)
    def step(i):
        found = _vectors.products([_vectors.rows_of(variable), tf.ones(1000)], [tf.ones(1000)])
        rows.write(ops, variable, i, tf.ones(1000) * tf.cast(tf.reduce_sum(found[:2]), tf.float32))

    for i in (1, 0):
        step(tf.constant(i))
    assert address(variable) == place
    np.testing.assert_array_equal(variable[:, 0], [1_001_000.0, 1000.0])


def write_whole(ops, variable, row):
    rows.write(ops, variable, 1, row)


def scatter(ops, variable, row):
    variable.scatter_update(tf.IndexedSlices(row[None], [1]))


@pytest.mark.parametrize("write", [write_whole, scatter])
def test_products_see_no_row_half_written(ops, write):
    n, steps = 300_000, 300
    variable, ones = tf.Variable(tf.zeros((2, n))), tf.ones(n)
    torn, failures, done = [], [], threading.Event()

    def look():
        products = _vectors.products([_vectors.rows_of(variable), ones], [ones]).numpy() / n
        if np.any(products != np.round(products)):
            torn.append(products)

    def watch():
        try:
            while not done.is_set():
                look()
        except Exception as error:
            failures.append(error)

    watchers = [threading.Thread(target=watch, daemon=True) for _ in range(2)]
    for thread in watchers:
        thread.start()
    for k in range(steps):
        write(ops, variable, tf.fill([n], float(k)))
    done.set()
    for thread in watchers:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in watchers)
    assert failures == []
    assert torn == []
    np.testing.assert_array_equal(variable[1], np.full(n, steps - 1.0))


def address(variable):
    return np.asarray(memoryview(tf.convert_to_tensor(variable))).__array_interface__["data"][0]


def test_large_sums_come_from_memory_that_was_freed(ops):
    page, given = 1 << 21, [draw(tf.float32, 600_000, seed=k) for k in (1, 2)]
    total = lambda *factors: rows.combination(ops, tf.constant(factors, tf.float64), given)  # noqa: E731
    first = total(1.0, -1.0)
    place = address(first)
    assert place % page == 0
    # What is held stays as it is.
    assert address(total(2.0, 0.0)) != place
    np.testing.assert_array_equal(first, given[0] - given[1])
    del first
    assert address(total(3.0, 1.0)) == place


# -- L-BFGS on them --------------------------------------------------------------------------------------


def training(fused, jit_compile, dtype="float64", sizes=(7, 30)):
    """A step of L-BFGS on a convex function, its weights and the optimizer."""
    optimizer = tfopt.LBFGS(history=4, fused=fused)
    weights = [keras.Variable(np.linspace(1.0, 2.0, n), dtype=dtype) for n in sizes]
    optimizer.build(weights)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum((w.value - 0.5) ** 4 + w.value**2) for w in weights])
        gradients = tape.gradient(loss, [w.value for w in weights])
        optimizer.scale_loss(loss)
        optimizer.apply(gradients, weights)

    return step, weights, optimizer


def trained(*options):
    """The weights after eight steps, and the method's history."""
    step, weights, optimizer = training(*options)
    for _ in range(8):
        step()
    (history,) = [v for v in optimizer.variables if v.path.endswith("steps")]
    return np.concatenate(weights), history.numpy()


@pytest.mark.parametrize("fused", [True, False])
def test_compiled_steps_choose_no_element_by_its_place(lowering, fused):
    """A concatenation of weights or gradients would."""
    step, *_ = training(fused, True, sizes=(700, 3000))
    text = step.experimental_get_compiler_ir()(stage="optimized_hlo")
    assert "f64[3700]" in text
    assert not re.findall(r"= f64\[3700\]\S* concatenate\(", text)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "jit"])
def test_lbfgs_takes_the_same_path_with_and_without_kernels(lowering, jit_compile):
    for ours, python in zip(trained(True, jit_compile), trained(False, jit_compile), strict=True):
        assert np.all(np.isfinite(ours))
        assert np.abs(python).max() > 0
        np.testing.assert_allclose(ours, python, rtol=1e-6, atol=1e-9)


# -- What they refuse --------------------------------------------------------------------------------------

F = functools.partial(tf.zeros, dtype=tf.float32)


def product(ops, variables=(), given=(), vectors=()):
    """A call, not yet made; variables are made outside of what is traced."""
    held = [v.handle for v in variables]
    return lambda: ops.tfopt_row_products(variables=held, rows=list(given), vectors=list(vectors))


def total(ops, variables=(), given=(), factors=1):
    held, factors = [v.handle for v in variables], tf.ones(factors, tf.float64)
    return lambda: [
        ops.tfopt_row_combination(variables=held, rows=list(given), factors=factors),
        variables,  # Kept alive.
    ]


def moved(ops, variables=(), given=(), lengths=(3, 3, 3, 3)):
    held, (point, iterate, gradient, last) = [v.handle for v in variables], map(F, lengths)
    return lambda: [
        ops.tfopt_row_move(
            variables=held,
            point=point,
            iterate=iterate,
            gradient=gradient,
            last_gradient=last,
            rows=list(given),
        ),
        variables,
    ]


def descended(ops, given, factors, length=3):
    factors, gradient = tf.ones(factors, tf.float64), F(length)
    return lambda: ops.tfopt_row_descent(variables=[], rows=given, factors=factors, gradient=gradient)


def written(ops, shape=(2, 3), index=0, row=(3,), dtype=tf.float32):
    variable, index, row = tf.Variable(F(shape)), tf.constant(index), tf.zeros(row, dtype)
    return lambda: ops.tfopt_write_row(variable=variable.handle, index=index, row=row)


def dead():
    """A handle to a variable that was never made."""
    return types.SimpleNamespace(
        handle=tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=(2, 3), shared_name="never_made")
    )


def nothing():
    """What has an empty list of handles in place of its one."""
    return types.SimpleNamespace(handle=tf.stack([HELD[0].handle])[:0])


HELD = [tf.Variable(F((2, 3))), tf.Variable(F((2, 4))), tf.Variable(tf.zeros((2, 3), tf.float64))]
GOOD = {
    "products": lambda ops: product(ops, HELD[:1], [F((2, 3)), F(3)], [F(3), F(3)]),
    "sum": lambda ops: total(ops, HELD[:1], [F((2, 3)), F(3)], 5),
    "write": lambda ops: written(ops),
    "move": lambda ops: moved(ops, HELD[:1], [F((2, 3)), F(3)]),
    "move alone": lambda ops: moved(ops),
    "descent": lambda ops: descended(ops, [F((2, 3)), F(3)], 3),
}
BAD = {
    "a move of one point more": lambda ops: moved(ops, lengths=(4, 3, 3, 3)),
    "a move back from more": lambda ops: moved(ops, HELD[:1], lengths=(3, 4, 3, 3)),
    "a move's gradient": lambda ops: moved(ops, lengths=(3, 3, (1, 3), 3)),
    "a move's last gradient": lambda ops: moved(ops, given=[F(3)], lengths=(3, 3, 3, 2)),
    "a move of nothing": lambda ops: moved(ops, lengths=(0, 0, 0, 0)),
    "a move beside longer rows": lambda ops: moved(ops, HELD[1:2]),
    "a move beside rows of another type": lambda ops: moved(ops, HELD[2:]),
    "products of no variable": lambda ops: product(ops, [nothing()], vectors=[F(3)]),
    "a sum of no variable": lambda ops: total(ops, [nothing()], factors=2),
    "a move beside no variable": lambda ops: moved(ops, [nothing()]),
    "a move beside a dead variable": lambda ops: moved(ops, [dead()]),
    "a descent's factor": lambda ops: descended(ops, [F((2, 3))], 3),
    "a descent's gradient": lambda ops: descended(ops, [F((2, 3))], 2, 4),
    "a descent from nothing": lambda ops: descended(ops, [], 0),
    "no rows": lambda ops: product(ops, vectors=[F(3)]),
    "no vectors": lambda ops: product(ops, given=[F(3)]),
    "a matrix without rows": lambda ops: product(ops, given=[F((0, 3))], vectors=[F(3)]),
    "rows without elements": lambda ops: product(ops, given=[F((2, 0))], vectors=[F(0)]),
    "vector's length": lambda ops: product(ops, given=[F((2, 3))], vectors=[F(4)]),
    "vector's rank": lambda ops: product(ops, given=[F((2, 3))], vectors=[F((1, 3))]),
    "rows' lengths": lambda ops: product(ops, given=[F((2, 3)), F(4)], vectors=[F(3)]),
    "a scalar row": lambda ops: product(ops, given=[F(())], vectors=[F(1)]),
    "rows' rank": lambda ops: product(ops, given=[F((1, 1, 3))], vectors=[F(3)]),
    "types": lambda ops: product(ops, given=[F(3), tf.zeros(3, tf.float64)], vectors=[F(3)]),
    "half": lambda ops: product(ops, given=[tf.zeros(3, tf.float16)], vectors=[tf.zeros(3, tf.float16)]),
    "variable's type": lambda ops: product(ops, HELD[2:], vectors=[F(3)]),
    "variable's length": lambda ops: product(ops, HELD[1:2], vectors=[F(3)]),
    "a dead variable's products": lambda ops: product(ops, [dead()], vectors=[F(3)]),
    "sum of no rows": lambda ops: total(ops, factors=0),
    "a factor more": lambda ops: total(ops, given=[F((2, 3))], factors=3),
    "a factor less": lambda ops: total(ops, HELD[:1], factors=1),
    "sum of empty rows": lambda ops: total(ops, given=[F(0)]),
    "sum of unlike rows": lambda ops: total(ops, given=[F(3), F(4)], factors=2),
    "a dead variable's sum": lambda ops: total(ops, [dead()], factors=2),
    "row's length": lambda ops: written(ops, row=(4,)),
    "row's rank": lambda ops: written(ops, row=(1, 3)),
    "row's type": lambda ops: written(ops, dtype=tf.float64),
    "row outside": lambda ops: written(ops, index=2),
    "indices": lambda ops: written(ops, index=[0, 1]),
    "a vector's row": lambda ops: written(ops, shape=(3,)),
}
REFUSALS = (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError, ValueError, TypeError)


@pytest.mark.parametrize("how", GOOD | BAD)
def test_bad_input_is_refused(ops, wrap, request, how):
    if how == "row outside" and "jit" in request.node.name:
        pytest.skip("XLA moves an index inside, as all its operations do")
    if how in ("move", "move alone", "descent") and "jit" in request.node.name:
        pytest.skip("XLA makes these of others, and has no such op")
    call = (GOOD | BAD)[how](ops)
    traced = wrap(lambda: call() is None)
    if how in GOOD:
        traced()
        return
    with pytest.raises(REFUSALS):
        traced()
