"""The ops for normalisation: every type, layout, instruction set and kind of graph; what they refuse."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfopt.kernels import normalize as kernels

EPSILON = 1e-3
# Shape of x as [outer, inner, groups, width], number of parameters, and the run of each.
LAYOUTS = {
    "layer": ((9, 1, 1, 1500), 1500, 1),
    "layer, few parameters": ((5, 1, 1, 1200), 8, 1),
    "groups": ((3, 50, 4, 2), 8, 1),
    "groups, channels first": ((4, 1, 6, 900), 12, 450),
    "groups, by group": ((3, 50, 4, 2), 4, 2),
    "by element": ((3, 50, 4, 2), 400, 1),
    "batch": ((1, 40_000, 5, 1), 5, 1),
    "batch, channels first": ((1, 60, 7, 310), 7, 310),
}
WRAPS = {
    "eager": lambda f: f,
    "graph": lambda f: tf.function(f, autograph=False),
    "jit": lambda f: tf.function(f, autograph=False, jit_compile=True),
}
ROUNDING = {"float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


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


class Problem:
    """Random tensors of a layout, and what they give in float64."""

    def __init__(self, layout, dtype="float32", seed=0):
        shape, count, self.run = layout
        rng = np.random.default_rng([seed, count])
        self.x = tf.constant(rng.normal(3.0, 2.0, shape), dtype)
        self.upstream = tf.constant(rng.normal(size=shape), dtype)
        self.gamma, self.beta = (tf.constant(part, tf.float32) for part in rng.normal(size=(2, count)))

    def found(self, ops):
        """y, mean, variance, and the three gradients."""
        y, *statistics = kernels.normalize(ops, self.x, self.gamma, self.beta, self.run, EPSILON)
        given = self.x, self.upstream, self.gamma, statistics, self.run, EPSILON
        return y, *statistics, *kernels.gradients(ops, *given)

    def expected(self):
        x, g, gamma, beta = (
            np.asarray(a, np.float64) for a in (self.x, self.upstream, self.gamma, self.beta)
        )
        runs = x[0].size // (len(gamma) * self.run), len(gamma), self.run
        spread = lambda a: np.broadcast_to(a[:, None], runs).reshape(x.shape[1:])  # noqa: E731
        over = dict(axis=(1, 3), keepdims=True)
        mean, variance = x.mean(**over), x.var(**over)
        root = np.sqrt(variance + EPSILON)
        normal, h = (x - mean) / root, spread(gamma) * g
        by_x = (h - h.mean(**over) - normal * (h * normal).mean(**over)) / root
        sums = [a.reshape(len(x), *runs).sum((0, 1, 3)) for a in (g * normal, g)]
        statistics = [a[:, 0, :, 0] for a in (mean, variance)]
        return normal * spread(gamma) + spread(beta), *statistics, by_x, *sums


def assert_close(found, expected, dtype="float32", slack=1.0):
    for i, (f, e) in enumerate(zip(found, expected, strict=True)):
        bound = slack * ROUNDING[dtype if i in (0, 3) else "float32"]
        assert np.max(np.abs(np.asarray(f, np.float64) - e)) < bound * max(1.0, np.max(np.abs(e))), i


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ROUNDING)
def test_both_passes_are_exact_but_for_rounding(ops, instructions, layout, dtype):
    case = Problem(LAYOUTS[layout], dtype)
    assert_close(case.found(ops), case.expected(), dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_of_graph(ops, wrap, layout):
    case = Problem(LAYOUTS[layout])
    assert_close(wrap(lambda: case.found(ops))(), case.expected())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ROUNDING)
def test_xlas_own_operations_compute_the_same(ops, portably, layout, dtype):
    case = Problem(LAYOUTS[layout], dtype)
    # It adds tens of thousands of floats one after the other.
    assert_close(portably(WRAPS["jit"](lambda: case.found(ops))), case.expected(), dtype, slack=10)


def test_a_compiled_program_calls_the_kernels(ops, lowering):
    case = Problem(LAYOUTS["layer"])
    program = tf.function(lambda: case.found(ops), jit_compile=True, autograph=False)
    text = program.experimental_get_compiler_ir()(stage="hlo")
    assert text.count('custom_call_target="tfopt_normalize"') == 1
    assert text.count('custom_call_target="tfopt_normalize_backward"') == 1


@pytest.mark.parametrize("name", ["eager", "graph", "jit"])
@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 0, 2, 2), (2, 3, 0, 2)])
@pytest.mark.parametrize("times", [1, 2**60])
def test_without_elements_the_statistics_are_zero(ops, portably, name, shape, times):
    x = tf.zeros(shape)

    def found():
        y, mean, variance = kernels.normalize(ops, x, tf.ones(4), tf.ones(4), times, EPSILON)
        return y, mean, variance, *kernels.gradients(ops, x, x, tf.ones(4), (mean, variance), times, EPSILON)

    run = WRAPS[name](found)
    for parts in [run(), portably(WRAPS["jit"](found))] if name == "jit" else [run()]:
        assert parts[0].shape == parts[3].shape == shape
        for part in parts[1:3]:
            np.testing.assert_array_equal(part, np.zeros((shape[0], shape[2])))
        for part in parts[4:]:
            np.testing.assert_array_equal(part, np.zeros(4))


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("layout", ["layer", "groups", "batch"])
def test_statistics_far_from_zero(ops, portably, name, layout):
    """A mean 10⁴ times the deviation costs no more than the rounding of the input."""
    shape, count, run = LAYOUTS[layout]
    x = tf.constant(np.random.default_rng(0).normal(1e4, 1.0, shape), tf.float32)
    call = WRAPS[name](lambda: kernels.normalize(ops, x, tf.ones(count), tf.zeros(count), run, 0.0))
    wide = x.numpy().astype(np.float64)
    for found in [call(), portably(call)] if name == "jit" else [call()]:
        np.testing.assert_allclose(found[2], wide.var((1, 3)), rtol=1e-5)
        centred = wide - found[1].numpy()[:, None, :, None]
        np.testing.assert_allclose(found[0], centred / np.sqrt(wide.var((1, 3), keepdims=True)), atol=2e-5)


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize(
    "layout", ["layer", "groups", "groups, channels first", "batch", "batch, channels first"]
)
def test_one_element_far_from_all_others_costs_no_digits(ops, portably, name, layout, place):
    shape, count, run = LAYOUTS[layout]
    x = np.zeros(shape, np.float32)
    row, column = divmod(place % (shape[1] * shape[3]), shape[3])
    x[:, row, :, column] = 102.1
    call = WRAPS[name](lambda: kernels.normalize(ops, x, tf.ones(count), tf.zeros(count), run, EPSILON))
    for found in [call(), portably(call)] if name == "jit" else [call()]:
        np.testing.assert_allclose(found[2], x.astype(np.float64).var((1, 3)), rtol=1e-5)


@pytest.mark.parametrize("layout", ["layer", "groups", "batch"])
def test_constant_inputs_have_no_variance(ops, layout):
    shape, count, run = LAYOUTS[layout]
    y, mean, variance = kernels.normalize(
        ops, tf.fill(shape, 0.1), tf.ones(count), tf.fill(count, 5.0), run, EPSILON
    )
    np.testing.assert_array_equal(variance, np.zeros(variance.shape))
    np.testing.assert_array_equal(mean, np.full(mean.shape, np.float32(0.1)))
    np.testing.assert_array_equal(y, np.full(shape, 5.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("layout", ["layer", "groups", "groups, channels first"])
def test_what_is_not_finite_stays_in_its_group(ops, layout, bad):
    case = Problem(LAYOUTS[layout])
    case.x = tf.tensor_scatter_nd_update(case.x, [[1, 0, 0, 1]], [bad])
    y, mean, variance, by_x, *_ = case.found(ops)
    for part in (mean, variance):
        assert np.argwhere(~np.isfinite(part)).tolist() == [[1, 0]]
    for part in (y, by_x):
        wrong = np.isnan(part)
        assert wrong[1, :, 0].all()
        assert wrong.sum() == wrong[1, :, 0].size


@pytest.mark.parametrize("layout", ["layer", "batch", "by element"])
def test_threads_and_calls_agree_bit_by_bit(ops, layout):
    shape, count, run = LAYOUTS[layout]
    case = Problem(((16, *shape[1:]) if shape[0] > 1 else (1, 90_000, *shape[2:]), count, run))
    first = case.found(ops)
    for _ in range(5):
        for again, before in zip(case.found(ops), first, strict=True):
            np.testing.assert_array_equal(again, before)


# -- Memory -----------------------------------------------------------------------------------------------

LARGE = (1100, 1, 1, 1000), 1000, 1  # more than 4 MiB
PAGE = 1 << 21  # what the pool's blocks begin at, and malloc's never


def address(tensor):
    return np.asarray(memoryview(tensor)).__array_interface__["data"][0]


def test_large_results_come_from_memory_that_was_freed(ops):
    problem, other = Problem(LARGE), Problem(LARGE, seed=1)
    first = problem.found(ops)
    copies = [part.numpy() for part in first]
    assert_close(first, problem.expected(), slack=3.0)
    places = {address(first[0]), address(first[3])}
    assert {place % PAGE for place in places} == {0}
    # What is held stays as it is.
    second = other.found(ops)
    assert places.isdisjoint({address(second[0]), address(second[3])})
    for part, copy in zip(first, copies, strict=True):
        np.testing.assert_array_equal(part, copy)
    del first, part
    third = other.found(ops)
    assert {address(third[0]), address(third[3])} == places
    assert_close(third, other.expected(), slack=3.0)


def test_others_may_write_where_a_result_lies_once_it_is_theirs(ops):
    """TensorFlow reuses buffers in graphs: here of y, for what is computed from it."""
    problem = Problem(LARGE)

    @tf.function(autograph=False)
    def step():
        y, *_ = problem.found(ops)
        return tf.nn.relu(y * 2.0), y

    expected = problem.expected()[0]
    for _ in range(3):
        doubled, y = step()
        assert_close([doubled, y], [np.maximum(2 * expected, 0), expected], slack=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("wish", ["on", "off"])
def test_the_pool_can_be_switched_off(loaded, wish):
    program = (
        "import tensorflow as tf, tfopt\n"
        "layer = tfopt.layers.LayerNormalization()\n"
        "y = layer(tf.ones([1100, 1000]), training=True)\n"
        "print(memoryview(y).c_contiguous, tf.reduce_max(tf.abs(y)).numpy())\n"
        "import numpy as np\n"
        f"print(np.asarray(memoryview(y)).__array_interface__['data'][0] % {PAGE} == 0)\n"
    )
    environment = os.environ | {"TFOPT_POOL": wish, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert said == ["True", "0.0", str(wish == "on")]


def test_the_upstream_gradient_that_others_hold_is_left_alone(ops):
    case = Problem(LAYOUTS["layer"])
    before = case.upstream.numpy().copy()
    case.found(ops)
    np.testing.assert_array_equal(case.upstream, before)


X, FOUR, GROUPS = tf.ones((2, 3, 2, 2)), tf.ones(4), tf.ones((2, 2))
BAD_FORWARD = {
    "axes": (dict(x=tf.ones((2, 3, 4))), "4"),
    "gamma's axes": (dict(gamma=tf.ones((2, 2))), "gamma|rank"),
    "beta's length": (dict(beta=tf.ones(3)), "3|shape"),
    "no parameters": (dict(gamma=tf.ones(0), beta=tf.ones(0)), "at least one parameter"),
    "too many parameters": (dict(gamma=tf.ones(24), beta=tf.ones(24)), "whole number"),
    "parameters that straddle rows": (dict(gamma=tf.ones(3), beta=tf.ones(3)), "straddle"),
    "runs that straddle groups": (dict(run=3), "straddle"),
    "run": (dict(run=0), "run"),
    "runs past the end": (dict(run=7), "whole number"),
    "runs past every number": (dict(run=2**62), "whole number"),
    "epsilon": (dict(epsilon=-1.0), "epsilon"),
}
BAD_BACKWARD = {
    "axes": (dict(x=tf.ones((2, 3, 4)), upstream=tf.ones((2, 3, 4))), "4"),
    "upstream's shape": (dict(upstream=tf.ones((2, 3, 2, 1))), "shape|upstream"),
    "mean's shape": (dict(mean=tf.ones((2, 1))), "shape|mean"),
    "variance's shape": (dict(variance=tf.ones(4)), "shape|variance"),
    "parameters": (dict(gamma=tf.ones(5)), "whole number"),
    "runs past every number": (dict(run=2**62), "whole number"),
}


@pytest.mark.parametrize("bad", BAD_FORWARD)
@pytest.mark.parametrize("name", WRAPS)
def test_a_bad_forward_pass_is_refused(ops, lowering, name, bad):
    change, message = BAD_FORWARD[bad]
    given = dict(x=X, gamma=FOUR, beta=FOUR, run=1, epsilon=EPSILON) | change
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        WRAPS[name](lambda: ops.tfopt_normalize(**given))()


@pytest.mark.parametrize("bad", BAD_BACKWARD)
@pytest.mark.parametrize("name", WRAPS)
def test_a_bad_backward_pass_is_refused(ops, lowering, name, bad):
    change, message = BAD_BACKWARD[bad]
    given = dict(x=X, upstream=X, gamma=FOUR, mean=GROUPS, variance=GROUPS, run=1, epsilon=EPSILON) | change
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        WRAPS[name](lambda: ops.tfopt_normalize_backward(**given))()
