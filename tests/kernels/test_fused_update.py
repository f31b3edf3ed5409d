"""The fused update against the Python rule: every rule, dtype, option, instruction set and size."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import library
from tfopt.kernels.fused_update import FusedUpdate

MOMENTUM = keras.optimizers.schedules.PolynomialDecay(0.5, 3, 0.9)
RULES = {
    "sgd": lambda **o: tfopt.SGD(0.1, **o),
    "momentum": lambda **o: tfopt.Momentum(0.1, MOMENTUM, **o),
    "nesterov": lambda **o: tfopt.Nesterov(0.1, MOMENTUM, **o),
    "delta_bar_delta": lambda **o: tfopt.DeltaBarDelta(0.1, kappa=0.05, phi=0.3, **o),
    "adagrad": lambda **o: tfopt.AdaGrad(0.1, **o),
    "rmsprop": lambda **o: tfopt.RMSProp(0.1, rho=0.3, **o),
    "rmsprop_centered": lambda **o: tfopt.RMSProp(0.1, centered=True, **o),
    "rmsprop_momentum": lambda **o: tfopt.RMSProp(0.1, momentum=MOMENTUM, **o),
    "rmsprop_centered_momentum": lambda **o: tfopt.RMSProp(0.1, momentum=0.5, centered=True, **o),
    "rmsprop_momentum_nesterov": lambda **o: tfopt.RMSProp(0.1, momentum=MOMENTUM, nesterov=True, **o),
    "rmsprop_centered_momentum_nesterov": lambda **o: tfopt.RMSProp(
        0.1, rho=0.4, momentum=MOMENTUM, nesterov=True, centered=True, **o
    ),
    "adadelta": lambda **o: tfopt.AdaDelta(**o),
    "adam": lambda **o: tfopt.Adam(0.1, **o),
    "adam_inside": lambda **o: tfopt.Adam(0.1, beta_1=0.2, epsilon_mode="inside", **o),
    "amsgrad": lambda **o: tfopt.AMSGrad(0.1, **o),
    "amsgrad_inside": lambda **o: tfopt.Adam(0.1, amsgrad=True, epsilon_mode="inside", **o),
    "amsgrad_recursive": lambda **o: tfopt.AMSGrad(0.1, variant="recursive", **o),
    "nadam": lambda **o: tfopt.NAdam(0.1, **o),
    "nadam_lookahead": lambda **o: tfopt.NAdam(0.1, form="lookahead", **o),
}
OPTIONS = {
    "decay": {"weight_decay": 0.1, "weight_decay_exclude": ["_1$"]},
    "rates": {"weight_decay": 0.1, "learning_rate_multipliers": {"_0": 0.25, "_1": 0.0}},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.3},
    "scale": {"loss_scale_factor": 4.0, "skip_nonfinite": True},
    "accumulation": {"gradient_accumulation_steps": 2},
    "unfinished accumulation": {"gradient_accumulation_steps": 3, "loss_scale_factor": 4.0},
    "accumulation, clipnorm": {"gradient_accumulation_steps": 3, "clipnorm": 0.2, "skip_nonfinite": True},
    "accumulation, global_clipnorm": {"gradient_accumulation_steps": 2, "global_clipnorm": 0.3},
    "accumulation, clipvalue": {"gradient_accumulation_steps": 2, "clipvalue": 0.2, "loss_scale_factor": 2.0},
    "scale, global_clipnorm": {"loss_scale_factor": 8.0, "global_clipnorm": 0.1, "skip_nonfinite": True},
}
AVERAGES = {
    "average": {"use_ema": True, "ema_momentum": 0.6},
    "overwrite": {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2, "clipnorm": 1.0},
}
DTYPES = ("float32", "float64", "float16", "bfloat16")
# A few roundings of the narrowest type on the way, from sums in another order.
TOLERANCES = {"float32": 4e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 2e-2}
EACH_RULE = pytest.mark.parametrize("rule", RULES)
# Nothing, one element, around the width of a vector, several axes, around a tile.
SHAPES = [(0,), (), (1,), (15,), (16,), (17,), (3, 0, 2), (2, 3, 5), (1023,), (1025,), (31, 67)]
FEW_SHAPES = [(1,), (17,), (1025,)]

pytestmark = pytest.mark.usefixtures("loaded")


def compared(optimizer):
    """Its state but for checksums of weights, which differ where the weights do in their last digit."""
    return [v for (slot, _), v in optimizer.named_state() if slot != "shown"]


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Names of the rules whose kernel was called."""
    made = []
    plain = FusedUpdate.__call__

    def counting(self, *arguments, **options):
        made.append(self.rule)
        return plain(self, *arguments, **options)

    monkeypatch.setattr(FusedUpdate, "__call__", counting)
    return made


def dense(rng, shape, dtype):
    """A gradient; no exact zeros and no ties: what a rounding decides is no part of the comparison."""
    return tf.cast(rng.normal(size=shape) + 0.01, dtype)


def run(
    make, shapes=SHAPES, dtypes=("float32",), wrap=lambda step: step, steps=4, seed=0, draw=dense, **options
):
    """Weights, slots and everything else that an optimizer leaves behind after a few steps, by its name."""
    rng = np.random.default_rng(seed)
    kinds = [(shape, dtype) for dtype in dtypes for shape in shapes]
    weights = [
        keras.Variable(rng.normal(size=shape), dtype=dtype, name=f"w_{i}")
        for i, (shape, dtype) in enumerate(kinds)
    ]
    optimizer = make(**options)
    optimizer.build(weights)
    step = wrap(lambda *gradients: optimizer.apply(list(gradients), weights))
    for _ in range(steps):
        step(*(draw(rng, shape, dtype) for shape, dtype in kinds))
    optimizer.to_evaluation_weights()
    return {v.path: v.numpy().astype("float64") for v in [*weights, *compared(optimizer)]}


def assert_same(left, right, tolerance):
    assert len(left) == len(right)
    for (name, a), b in zip(left.items(), right.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


def assert_fused_is_rule(calls, rule, tolerance, **how):
    fused = run(RULES[rule], **how)
    assert set(calls) == {rule}
    made = len(calls)
    assert_same(fused, run(RULES[rule], **{**how, "fused": False}), tolerance)
    assert len(calls) == made


def test_every_rule_of_the_library_is_tried(loaded):
    assert set(loaded.kernels) == set(RULES)


@EACH_RULE
def test_the_library_knows_the_rule_as_python_does(loaded, rule):
    theirs, ours = loaded.kernels[rule], RULES[rule]().machine.rule
    carried = {name: tf.constant(value, tf.float64) for name, value in ours.carried.items()}
    scalars = ours.scalars(tf.constant(1.0, tf.float64), tf.constant(0.1, tf.float64), **carried)
    assert theirs.rule == ours.name
    assert theirs.slots == ours.slots
    assert set(theirs.scalars) <= set(scalars)
    assert theirs.looks_ahead == (ours.lookahead is not None)


@pytest.mark.parametrize("dtype", DTYPES)
@EACH_RULE
def test_fused_equals_rule(calls, instructions, rule, dtype):
    options = {"weight_decay": 0.05, "global_clipnorm": 3.0}
    how = {"shapes": FEW_SHAPES, "dtypes": (dtype,), "steps": 3}
    assert_fused_is_rule(calls, rule, TOLERANCES[dtype], **how, **options)


@EACH_RULE
def test_fused_equals_rule_for_every_shape(calls, rule):
    assert_fused_is_rule(calls, rule, TOLERANCES["float32"], steps=2)


@EACH_RULE
def test_fused_equals_rule_in_a_graph(calls, rule):
    how = {"shapes": FEW_SHAPES, "wrap": tf.function}
    assert_fused_is_rule(calls, rule, TOLERANCES["float32"], weight_decay=0.05, **how)


def on_two_replicas(strategy):
    """Runs a step on each of them, with half of the gradient."""
    half = lambda *gradients: [g / 2 for g in gradients]  # noqa: E731
    return lambda step: tf.function(lambda *g: strategy.run(lambda: step(*half(*g))))


ON_REPLICAS = [*((r, "float32") for r in RULES), *(("adam", dtype) for dtype in DTYPES[1:])]
QUICK_ON_REPLICAS = [("nesterov", "float32"), ("nadam", "float32"), ("adam", "bfloat16")]


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [pytest.param(*row, marks=[] if row in QUICK_ON_REPLICAS else pytest.mark.slow) for row in ON_REPLICAS],
)
def test_on_two_replicas_fused_equals_rule_on_one_device(calls, strategy, rule, dtype):
    how = {"shapes": FEW_SHAPES, "dtypes": (dtype,), "weight_decay": 0.05}
    with strategy.scope():
        replicas = run(RULES[rule], wrap=on_two_replicas(strategy), **how)
    assert calls == [rule] * 2
    alone = run(RULES[rule], wrap=tf.function, fused=False, **how)
    assert_same(replicas, alone, TOLERANCES[dtype])


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("rule", ["nesterov", "adam", "nadam"])
def test_fused_equals_rule_under_every_option(calls, rule, option):
    assert_fused_is_rule(calls, rule, TOLERANCES["float32"], shapes=FEW_SHAPES, **OPTIONS[option])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", AVERAGES)
def test_fused_equals_rule_with_averages(calls, instructions, option, dtype):
    assert_fused_is_rule(calls, "adam", TOLERANCES[dtype], dtypes=(dtype,), **AVERAGES[option])


def test_averages_in_a_graph(calls):
    assert_fused_is_rule(calls, "adam", 4e-6, wrap=tf.function, **AVERAGES["overwrite"])


@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "graph"])
def test_a_list_of_all_types(calls, wrap):
    options = {"weight_decay": 0.1, "weight_decay_exclude": ["_1"], "clipnorm": 0.7}
    assert_fused_is_rule(calls, "adam", TOLERANCES["bfloat16"], dtypes=DTYPES, wrap=wrap, **options)


@pytest.mark.parametrize("rule", ["adam", "nesterov"])
def test_work_is_divided_among_threads_at_any_element(calls, instructions, rule):
    shapes = [(70_001,), (3,), (0,), (131_072,), (65_537,), (1,)]
    assert_fused_is_rule(calls, rule, TOLERANCES["float32"], shapes=shapes, steps=2)


def some_rows(rng, shape, dtype):
    """A gradient with values for some rows, unsorted and some of them twice; now and then for none."""
    if not shape or shape[0] == 0:
        return dense(rng, shape, dtype)
    rows = rng.integers(0, shape[0], size=rng.integers(0, 2 * min(shape[0], 20)))
    indices = tf.constant(rows, rng.choice([tf.int32, tf.int64]))
    return tf.IndexedSlices(dense(rng, (len(rows), *shape[1:]), dtype), indices, shape)


ROW_SHAPES = [(1,), (17,), (3, 0, 2), (0, 4), (7, 2, 5), (41, 67), (3, 1025), (1025, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@EACH_RULE
def test_rows_are_updated_as_the_dense_gradient_is(calls, instructions, rule, dtype):
    options = {"weight_decay": 0.05, "global_clipnorm": 3.0}
    how = {"shapes": [(7, 5), (3, 1025)], "dtypes": (dtype,), "steps": 3, "draw": some_rows}
    assert_fused_is_rule(calls, rule, TOLERANCES[dtype], **how, **options)


@pytest.mark.parametrize("option", [*OPTIONS, *AVERAGES])
def test_rows_under_every_option(calls, option):
    how = {"shapes": [*ROW_SHAPES, ()], "draw": some_rows, "steps": 5}
    assert_fused_is_rule(calls, "adam", TOLERANCES["float32"], **how, **(OPTIONS | AVERAGES)[option])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", [dense, some_rows])
def test_accumulation_in_every_type(calls, instructions, draw, dtype):
    options = OPTIONS["accumulation, global_clipnorm"]
    how = {"shapes": ROW_SHAPES, "dtypes": (dtype,), "draw": draw, "steps": 5}
    assert_fused_is_rule(calls, "nadam", TOLERANCES[dtype], **how, **options)


@pytest.mark.parametrize("draw", [dense, some_rows])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_may_be_wider_than_weights(calls, dtype, draw):
    """In float32, where they are as exact as the slots."""
    wider = lambda rng, shape, _: draw(rng, shape, "float32")  # noqa: E731
    how = {"shapes": FEW_SHAPES, "dtypes": (dtype,), "draw": wider}
    assert_fused_is_rule(calls, "adam", TOLERANCES[dtype], **how, **OPTIONS["accumulation"])


@pytest.mark.parametrize("option", ["clipvalue", "accumulation, clipnorm", "scale, global_clipnorm"])
def test_rows_and_accumulators_in_a_graph(calls, option):
    how = {"shapes": ROW_SHAPES, "draw": some_rows_of_a_table, "steps": 6, "wrap": tf.function}
    assert_fused_is_rule(calls, "adam", TOLERANCES["float32"], **how, **OPTIONS[option])


def some_rows_of_a_table(rng, shape, dtype):
    """Rows whose number is the same each time, for steps that are traced once."""
    if shape[0] == 0:
        return dense(rng, shape, dtype)
    indices = tf.constant(rng.integers(0, shape[0], size=9))
    return tf.IndexedSlices(dense(rng, (9, *shape[1:]), dtype), indices, tf.constant(shape))


def test_rows_outside_a_weight_are_refused(calls):
    weight = keras.Variable(np.ones((3, 2), "float32"))
    optimizer = tfopt.Adam(0.1)
    gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([0, 3]), (3, 2))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"lie outside \[0, 3\)"):
        optimizer.apply([gradient], [weight])
    np.testing.assert_array_equal(weight, np.ones((3, 2)))
    assert calls == ["adam"]


def test_an_embedding_is_trained_by_rows(calls):
    model = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(50, 3)])
    before = model.layers[0].embeddings.numpy()
    seen = []

    class Seen(tfopt.SGD):
        def apply(self, grads, trainable_variables=None):
            seen.extend(grads)
            super().apply(grads, trainable_variables)

    model.compile(Seen(1.0), "mse", jit_compile=False)
    model.fit(np.array([[1, 2, 2, 49]]), np.ones((1, 4, 3)), verbose=0)
    moved = np.flatnonzero((model.layers[0].embeddings.numpy() != before).any(1))
    assert moved.tolist() == [1, 2, 49]
    assert isinstance(seen[0], tf.IndexedSlices)


def test_who_holds_an_old_value_of_an_embedding_keeps_it(calls):
    """Gathering rows puts a variable into copy-on-read mode, in which the update copies nothing."""
    weight = keras.Variable(np.ones((50, 20), "float32"))
    optimizer = tfopt.SGD(1.0)
    seen = [tf.convert_to_tensor(weight.value)]
    for _ in range(2):
        tf.gather(weight.value, [0, 1])
        optimizer.apply([tf.ones((50, 20))], [weight])
        seen.append(tf.convert_to_tensor(weight.value))
    assert [np.unique(v).tolist() for v in seen] == [[1.0], [0.0], [-1.0]]
    assert len(calls) == 2


def test_gradients_that_are_not_finite_are_skipped(calls):
    weights = [keras.Variable(np.ones((4, 2), "float32")), keras.Variable(np.ones(3, "float32"))]
    optimizer = tfopt.Adam(0.1, skip_nonfinite=True, gradient_accumulation_steps=2)
    good = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), (4, 2))
    for bad in (float("nan"), float("inf"), -float("inf")):
        optimizer.apply([good, tf.ones(3)], weights)
        optimizer.apply(
            [tf.IndexedSlices(tf.constant([[bad, 1.0]]), tf.constant([3]), (4, 2)), tf.ones(3)], weights
        )
    assert optimizer.skipped_steps == 3
    assert all((w.numpy() == 1.0).all() for w in weights)
    assert all((v.numpy() == 0.0).all() for v in optimizer.variables if "accumulator" in v.path)
    optimizer.apply([good, tf.ones(3)], weights)
    optimizer.apply([good, tf.ones(3)], weights)
    assert optimizer.skipped_steps == 3
    assert (weights[1].numpy() < 1.0).all()


def test_large_gradients_are_finite(calls):
    """The sum of their squares overflows float32, even float64; the norm does not."""
    weights = [keras.Variable([1.0, 1.0], dtype=dtype) for dtype in ("float32", "float64")]
    optimizer = tfopt.SGD(1.0, skip_nonfinite=True, global_clipnorm=1.0)
    optimizer.apply([tf.constant([3e30, 4e30]), tf.constant([0.0, 0.0], tf.float64)], weights)
    np.testing.assert_allclose(weights[0], [0.4, 0.2], rtol=1e-6)
    optimizer.apply([tf.zeros(2), tf.constant([3e300, 4e300], tf.float64)], weights)
    np.testing.assert_allclose(weights[1], [0.4, 0.2], rtol=1e-12)
    assert optimizer.skipped_steps == 0


def compiled(step):
    return tf.function(step, jit_compile=True)


# Few enough for every run, and between them all that the rules are made of.
QUICK_TO_COMPILE = ("adam", "rmsprop_centered_momentum_nesterov", "delta_bar_delta")


@pytest.mark.parametrize(
    "rule", [pytest.param(r, marks=[] if r in QUICK_TO_COMPILE else pytest.mark.slow) for r in RULES]
)
@pytest.mark.usefixtures("lowering")
def test_fused_equals_rule_compiled_by_xla(calls, rule):
    how = {"shapes": FEW_SHAPES, "wrap": compiled, "steps": 3}
    assert_fused_is_rule(calls, rule, TOLERANCES["float32"], weight_decay=0.05, global_clipnorm=3.0, **how)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@EACH_RULE
@pytest.mark.usefixtures("lowering")
def test_every_type_compiled_by_xla(calls, rule, dtype):
    how = {"shapes": FEW_SHAPES, "dtypes": (dtype,), "wrap": compiled, "steps": 3}
    assert_fused_is_rule(calls, rule, TOLERANCES[dtype], weight_decay=0.05, global_clipnorm=3.0, **how)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "rule", [pytest.param(r, marks=[] if r == "adam" else pytest.mark.slow) for r in RULES]
)
def test_xlas_own_operations_compute_the_rule(portably, rule, dtype):
    """What programs for other devices consist of, run here, against the rule, uncompiled."""
    how = {"shapes": [(), (17,), (31, 67)], "dtypes": (dtype,), "steps": 3}
    how |= {"weight_decay": 0.05, "clipnorm": 3.0}
    lowered = portably(lambda: run(RULES[rule], wrap=compiled, **how))
    assert_same(lowered, run(RULES[rule], fused=False, **how), TOLERANCES[dtype])


@pytest.mark.usefixtures("lowering")
@pytest.mark.parametrize(
    "options",
    [
        OPTIONS["rates"],
        OPTIONS["clipnorm"],
        OPTIONS["clipvalue"],
        OPTIONS["accumulation, global_clipnorm"],
        *AVERAGES.values(),
    ],
)
def test_options_compiled_by_xla(calls, options):
    how = {"shapes": [(0,), (17,)], "dtypes": ("float32", "bfloat16"), "wrap": compiled, "steps": 2}
    assert_fused_is_rule(calls, "adam", TOLERANCES["bfloat16"], **how, **options)


@pytest.mark.usefixtures("lowering")
def test_rows_compiled_by_xla(calls):
    how = {"shapes": [(7, 5)], "draw": some_rows_of_a_table, "wrap": compiled, "steps": 3}
    options = OPTIONS["accumulation, global_clipnorm"] | {"skip_nonfinite": True}
    assert_fused_is_rule(calls, "adam", TOLERANCES["float32"], **how, **options)


def test_without_the_lowering_the_rule_is_compiled(calls, monkeypatch, loaded):
    bare = {name: dataclasses.replace(kernel, lowers=False) for name, kernel in loaded.kernels.items()}
    monkeypatch.setattr(library, "load", lambda: dataclasses.replace(loaded, kernels=bare))
    by_rule = run(RULES["adam"], shapes=FEW_SHAPES, wrap=compiled)
    assert calls == []
    assert_same(run(RULES["adam"], shapes=FEW_SHAPES), by_rule, TOLERANCES["float32"])


@pytest.mark.usefixtures("lowering")
def test_fit_compiled_by_xla(calls):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(tfopt.Adam(0.1), "mse", jit_compile=True)
    before = model.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=5, verbose=0)
    assert model.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=0) < before
    assert set(calls) == {"adam"}


def test_gradients_that_are_not_finite_end_up_in_the_weights(calls):
    weight = keras.Variable([1.0, 1.0])
    tfopt.AMSGrad(0.1).apply([tf.constant([float("nan"), 1.0])], [weight])
    assert np.isnan(weight.numpy()).tolist() == [True, False]
    assert calls == ["amsgrad"]


def test_who_holds_an_old_value_keeps_it(calls):
    weight = keras.Variable(np.ones(100_000, "float32"))
    optimizer = tfopt.SGD(1.0)
    before = tf.convert_to_tensor(weight.value)
    optimizer.apply([tf.ones(100_000)], [weight])
    after = tf.convert_to_tensor(weight.value)
    optimizer.apply([tf.ones(100_000)], [weight])
    assert [np.unique(v).tolist() for v in (before, after, weight)] == [[1.0], [0.0], [-1.0]]
    assert len(calls) == 2


def test_small_moments_survive():
    """Squares of small gradients lie below the smallest normal half; slots are float32 all the same."""
    weight = keras.Variable(np.ones(64), dtype="float16")
    optimizer = tfopt.Adam(2.0**-6)
    for _ in range(3):
        optimizer.apply([tf.fill(64, tf.constant(1e-5, tf.float16))], [weight])
    np.testing.assert_allclose(weight.numpy().astype("float64"), 1 - 3 * 2.0**-6, atol=2e-3)


def test_adam_by_hand_in_float64(calls):
    """The rule again from the paper, apart from all of tfopt."""
    rng = np.random.default_rng(5)
    p, m, v = rng.normal(size=(3, 37)) * [[1.0], [0.0], [0.0]]
    weight = keras.Variable(p, dtype="float64")
    optimizer = tfopt.Adam(2.0**-6, beta_1=0.8, beta_2=0.99, epsilon=1e-3)
    for t in range(1, 6):
        g = rng.normal(size=37)
        m, v = 0.8 * m + 0.2 * g, 0.99 * v + 0.01 * g * g
        p = p - 2.0**-6 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-3)
        optimizer.apply([tf.constant(g)], [weight])
    np.testing.assert_allclose(weight.numpy(), p, rtol=1e-12)
    assert calls == ["adam"] * 5
