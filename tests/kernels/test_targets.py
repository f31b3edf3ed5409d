"""The targets of compiled programs' calls, called by programs that tfopt did not write."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.usefixtures("lowering")

AttrValue = tf.compat.v1.AttrValue
ELEMENTS = {tf.float32: "f32", tf.float64: "f64", tf.float16: "f16", tf.bfloat16: "bf16", tf.int32: "i32"}
VERSION = 9  # of the module's format


def array(shape, dtype):
    return f"tensor<{''.join(f'{n}x' for n in shape)}{ELEMENTS[dtype]}>"


@dataclasses.dataclass
class Program:
    """One call of a target: arrays in, shapes and types of those out, attributes."""

    target: str
    operands: list
    results: list
    attributes: str = ""

    def text(self):
        operands = [array(x.shape, x.dtype) for x in self.operands]
        results = ", ".join(array(*result) for result in self.results)
        names = ", ".join(f"%a{i}" for i in range(len(operands)))
        given = ", ".join(f"%a{i}: {kind}" for i, kind in enumerate(operands))
        made = ", ".join(f"%r#{i}" for i in range(len(self.results))) if len(self.results) > 1 else "%r"
        left = f"%r:{len(self.results)} = " if len(self.results) > 1 else "%r = "
        call = (
            f"stablehlo.custom_call @{self.target}({names}) "
            f"{{api_version = 4 : i32, has_side_effect = true, backend_config = {{{self.attributes}}}}}"
        )
        return f"""module @m {{ func.func public @main({given}) -> ({results}) {{
            {left if self.results else ""}{call} : ({", ".join(operands)}) -> ({results})
            return {f"{made} : {results}" if self.results else ""}
        }} }}"""

    def run(self):
        types = [dtype for _, dtype in self.results]
        shapes = [tf.TensorShape(shape).as_proto() for shape, _ in self.results]
        attributes = {
            "version": AttrValue(i=VERSION),
            "module": AttrValue(s=self.text().encode()),
            "platforms": AttrValue(list=AttrValue.ListValue(s=[b"CPU"])),
            "Tin": AttrValue(
                list=AttrValue.ListValue(type=[x.dtype.as_datatype_enum for x in self.operands])
            ),
            "Tout": AttrValue(list=AttrValue.ListValue(type=[t.as_datatype_enum for t in types])),
            "Sout": AttrValue(list=AttrValue.ListValue(shape=shapes)),
        }

        def call(*operands):
            graph = tf.compat.v1.get_default_graph()
            return graph.create_op("XlaCallModule", list(operands), types, attrs=attributes).outputs

        return tf.function(call, jit_compile=True, autograph=False)(*self.operands)


def double(values):
    return tf.constant(values, tf.float64)


RATE, NONE, KEEP, FACTOR, BOUND, MEAN = (
    double([[0.25]]),
    tf.zeros((0, 0), tf.float64),
    double([1.0]),
    double(1.0),
    double(np.inf),
    double(0.5),
)
NUMBERS = [RATE, NONE, KEEP, FACTOR, BOUND, MEAN]
ONES = tf.ones(5)
ATTRIBUTES = {"rule": '"sgd"', "averaged": "false", "groups": "array<i32: 0>"}


def attributes(**changed):
    given = {k: v for k, v in {**ATTRIBUTES, **changed}.items() if v is not None}
    return ", ".join(f"{name} = {value}" for name, value in given.items())


def update(operands=(ONES, ONES, *NUMBERS), results=(((5,), tf.float32),), **changed):
    return Program("tfopt_fused_update", list(operands), list(results), attributes(**changed))


def numbers(**changed):
    names = ("rate", "following", "keep", "factor", "bound", "mean")
    return [changed.get(name, number) for name, number in zip(names, NUMBERS, strict=True)]


FIVE, SIX = ((5,), tf.float32), ((6,), tf.float32)
BAD_UPDATES = {
    "gradient's size": update([ONES, tf.ones(4), *NUMBERS]),
    "result's size": update(results=[SIX]),
    "result's type": update(results=[((5,), tf.float64)]),
    "gradient's type": update([ONES, tf.ones(5, tf.float64), *NUMBERS]),
    "integers": update([tf.ones(5, tf.int32)] * 2 + NUMBERS, [((5,), tf.int32)]),
    "no operands": update([]),
    "no numbers": update([ONES, ONES]),
    "two operands more": update([ONES, ONES, *NUMBERS, ONES, ONES]),
    "no results": update(results=[]),
    "a result too many": update(results=[FIVE] * 3),
    "scalars of another rule": update([ONES, ONES, *numbers(rate=double([[0.1, 0.2]]))]),
    "no scalars": update([ONES, ONES, *numbers(rate=NONE)]),
    "scalars' type": update([ONES, ONES, *numbers(rate=tf.ones((1, 1)))]),
    "following": update([ONES, ONES, *numbers(following=RATE)]),
    "keep's length": update([ONES, ONES, *numbers(keep=double([1.0, 1.0]))]),
    "no rows": update([ONES, ONES, *numbers(rate=NONE, keep=double([]))]),
    "factors' length": update([ONES, ONES, *numbers(factor=double([1.0, 1.0]))]),
    "no bound": update([ONES, ONES, *numbers(bound=double([]))]),
    "no mean's rate": update([ONES, ONES, *numbers(mean=double([]))]),
    "no such rule": update(rule='"adamant"'),
    "another rule": update(rule='"adam"'),
    "the rule is a number": update(rule="3"),
    "no rule": update(rule=None),
    "averages that are not there": update(averaged="true", results=[FIVE]),
    "no weights": update(groups="array<i32>"),
    "group too high": update(groups="array<i32: 1>"),
    "group below 0": update(groups="array<i32: -1>"),
    "no groups": update(groups=None),
    "wide groups": update(groups="array<i64: 0>"),
}


def norm(operands, results):
    return Program("tfopt_global_norm", operands, results)


ONE = ((), tf.float64)
TWO = ((2,), tf.float64)
BAD_NORMS = {
    "no results": norm([ONES, ONES], []),
    "one result": norm([ONES, ONES], [ONE]),
    "narrow result": norm([ONES, ONES], [((), tf.float32), TWO]),
    "narrow list": norm([ONES, ONES], [ONE, ((2,), tf.float32)]),
    "list instead of one": norm([ONES, ONES], [TWO, TWO]),
    "no operands": norm([], [ONE, TWO]),
    "one operand": norm([ONES], [ONE, TWO]),
    "three operands": norm([ONES] * 3, [ONE, TWO]),
    "empty list": norm([], [ONE, ((0,), tf.float64)]),
    "accumulator's size": norm([ONES, tf.ones(4), ONES, ONES], [ONE, TWO]),
    "accumulator's type": norm([tf.ones(5, tf.float16)] * 4, [ONE, TWO]),
    "two types": norm([ONES, tf.ones(5, tf.float64)], [ONE, TWO]),
    "integers": norm([tf.ones(5, tf.int32)] * 2, [ONE, TWO]),
}


def products(operands, shape, dtype=tf.float64):
    return Program("tfopt_row_products", operands, [(shape, dtype)])


def combination(operands, length=5, dtype=tf.float32):
    return Program("tfopt_row_combination", operands, [((length,), dtype)])


PAIR = tf.ones((2, 5))
BAD_ROWS = {
    "no results": Program("tfopt_row_products", [PAIR, ONES], []),
    "no operands": products([], (2, 1)),
    "no vector": products([PAIR], (2, 1)),
    "no vectors": products([PAIR, ONES], (2, 0)),
    "flat result": products([PAIR, ONES], (2,)),
    "narrow result": products([PAIR, ONES], (2, 1), tf.float32),
    "rows of the result": products([PAIR, ONES], (3, 1)),
    "a matrix as vector": products([PAIR, PAIR], (2, 1)),
    "vector's length": products([PAIR, tf.ones(4)], (2, 1)),
    "vector's type": products([PAIR, double(np.ones(5))], (2, 1)),
    "integers": products([tf.ones((2, 5), tf.int32), tf.ones(5, tf.int32)], (2, 1)),
    "scalars": products([tf.ones(()), tf.ones(())], (1, 1)),
    "no elements": products([tf.ones((2, 0)), tf.ones(0)], (2, 1)),
    "no rows": products([tf.ones((0, 5)), ONES], (0, 1)),
    "few factors": combination([PAIR, double([1.0])]),
    "narrow factors": combination([PAIR, tf.ones(2)]),
    "result's length": combination([PAIR, double([1.0, 1.0])], 4),
    "result's type": combination([PAIR, double([1.0, 1.0])], dtype=tf.float64),
    "factors alone": combination([double([1.0, 1.0])]),
}


X, FOUR, GROUPS = tf.ones((2, 3, 2, 2)), tf.ones(4), tf.ones((2, 2))
FORWARD = [(X.shape, tf.float32), (GROUPS.shape, tf.float32), (GROUPS.shape, tf.float32)]
BACKWARD = [(X.shape, tf.float32), (FOUR.shape, tf.float32), (FOUR.shape, tf.float32)]
HOW = "run = 1 : i64, epsilon = 1.0e-3 : f32"


def forward(operands=(X, FOUR, FOUR), results=FORWARD, how=HOW):
    return Program("tfopt_normalize", list(operands), list(results), how)


def backward(operands=(X, X, FOUR, GROUPS, GROUPS), results=BACKWARD, how=HOW):
    return Program("tfopt_normalize_backward", list(operands), list(results), how)


WIDE = tf.ones(X.shape, tf.float64)
BAD_NORMALIZATIONS = {
    "no operands": forward([]),
    "an operand too many": forward([X, FOUR, FOUR, FOUR]),
    "no results": forward(results=[]),
    "x's axes": forward([tf.ones((2, 3, 4)), FOUR, FOUR]),
    "x's type": forward([WIDE, FOUR, FOUR], [(X.shape, tf.float64), *FORWARD[1:]]),
    "gamma's type": forward([X, double(np.ones(4)), FOUR]),
    "gamma's length": forward([X, tf.ones(5), tf.ones(5)]),
    "no gamma": forward([X, tf.ones(0), tf.ones(0)]),
    "beta's length": forward([X, FOUR, tf.ones(5)]),
    "result's type": forward(results=[(X.shape, tf.float16), *FORWARD[1:]]),
    "result's shape": forward(results=[((2, 3, 2, 1), tf.float32), *FORWARD[1:]]),
    "statistics' length": forward(results=[FORWARD[0], ((3,), tf.float32), FORWARD[2]]),
    "statistics' type": forward(results=[FORWARD[0], (GROUPS.shape, tf.float64), FORWARD[2]]),
    "run of nothing": forward(how="run = 0 : i64, epsilon = 1.0e-3 : f32"),
    "run across groups": forward(how="run = 3 : i64, epsilon = 1.0e-3 : f32"),
    "negative epsilon": forward(how="run = 1 : i64, epsilon = -1.0e-3 : f32"),
    "epsilon that is no number": forward(how="run = 1 : i64, epsilon = 0x7FC00000 : f32"),
    "wide epsilon": forward(how="run = 1 : i64, epsilon = 1.0e-3 : f64"),
    "no attributes": forward(how=""),
    "backward, an operand too few": backward([X, X, FOUR, GROUPS]),
    "upstream's shape": backward([tf.ones((2, 3, 2, 1)), X, FOUR, GROUPS, GROUPS]),
    "upstream's type": backward([tf.ones(X.shape, tf.float16), X, FOUR, GROUPS, GROUPS]),
    "mean's length": backward([X, X, FOUR, FOUR[:3], GROUPS]),
    "variance's type": backward([X, X, FOUR, GROUPS, double(np.ones((2, 2)))]),
    "gradient's shape": backward(results=[((2, 3, 2, 1), tf.float32), *BACKWARD[1:]]),
    "gradients' length": backward(results=[BACKWARD[0], ((5,), tf.float32), BACKWARD[2]]),
    "gradients' type": backward(results=[*BACKWARD[:2], ((4,), tf.float64)]),
}


LISTS = BAD_UPDATES, BAD_NORMS, BAD_ROWS, BAD_NORMALIZATIONS
BAD = {f"{call.target}, {what}": call for bad in LISTS for what, call in bad.items()}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_call_is_refused(what):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"tfopt_|attribute|decode"):
        BAD[what].run()


def test_a_good_update_is_good_and_leaves_its_operands():
    weight = tf.fill(5, 2.0)
    (made,) = update([weight, ONES, *NUMBERS]).run()
    np.testing.assert_array_equal(made, 1.75 * np.ones(5))
    np.testing.assert_array_equal(weight, 2.0 * np.ones(5))


def test_an_update_with_averages_and_accumulators():
    weight, mean, sum_ = tf.fill(5, 2.0), tf.zeros(5), tf.fill(5, 3.0)
    made = update([weight, mean, sum_, ONES, *NUMBERS], [FIVE] * 3, averaged="true").run()
    for value, expected in zip(made, (1.0, 0.5, 0.0), strict=True):
        np.testing.assert_array_equal(value, expected * np.ones(5))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.float16, tf.bfloat16])
def test_good_norms(dtype):
    total, each = norm([tf.fill(9, tf.cast(2.0, dtype)), tf.zeros((0, 3), dtype)], [ONE, TWO]).run()
    assert float(total) == 6.0
    np.testing.assert_array_equal(each, [6.0, 0.0])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_good_rows(dtype):
    pair, ones = tf.cast([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype), tf.ones(3, dtype)
    (made,) = products([pair, ones, ones], (3, 1)).run()
    np.testing.assert_array_equal(made, [[6.0], [15.0], [3.0]])
    (total,) = combination([pair, ones, double([2.0, 0.5, 1.0])], 3, dtype).run()
    np.testing.assert_array_equal(total, [5.0, 7.5, 10.0])


def test_a_good_normalization_is_good():
    x = tf.constant(np.random.default_rng(0).normal(size=X.shape), tf.float32)
    y, mean, variance = forward([x, FOUR, 2 * FOUR]).run()
    expected = (x - tf.reduce_mean(x, (1, 3), True)) / tf.sqrt(
        tf.math.reduce_variance(x, (1, 3), True) + 1e-3
    )
    np.testing.assert_allclose(y, expected + 2, rtol=1e-5)
    upstream = tf.ones(X.shape)
    by_x, _, by_beta = backward([upstream, x, FOUR, mean, variance]).run()
    np.testing.assert_allclose(by_x, np.zeros(X.shape), atol=1e-6)
    np.testing.assert_array_equal(by_beta, np.full(4, 6.0))
    np.testing.assert_array_equal(upstream, np.ones(X.shape))
