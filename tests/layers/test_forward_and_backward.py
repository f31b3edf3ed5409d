"""Every normalisation against float64 NumPy: outputs, first and second derivatives, precisions, regimes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.layers._normalize import normalize
from tfopt.layers._statistics import Region


def errors(found, expected):
    """Largest error of each part, by the part's largest number."""
    pairs = zip(found, expected, strict=True)
    return [float(np.max(np.abs(np.asarray(f, np.float64) - e)) / np.max(np.abs(e))) for f, e in pairs]


def test_float64_equals_the_chapters_formulas(row, problem):
    case = problem(row, dtype="float64")
    assert max(errors(case.gradients(case.x, case.upstream), case.expected())) < 1e-13


@pytest.mark.parametrize("fused", [False, True])
def test_float32(row, problem, fused):
    case = problem(row, dtype="float32", fused=fused)
    found = case.gradients(case.x.astype(np.float32), case.upstream.astype(np.float32))
    assert all(part.dtype == tf.float32 for part in found)
    assert max(errors(found, case.expected())) < 3e-6


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("dtype", "rounding"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_precision_rounds_inputs_and_outputs_alone(row, problem, dtype, rounding, fused):
    """From inputs that are exact in half precision, all errors are of the last rounding."""
    case = problem(row, dtype=keras.DTypePolicy(f"mixed_{dtype}"), fused=fused)
    case.x, case.upstream = (tf.cast(part, dtype).numpy() for part in (case.x, case.upstream))
    y, by_x, by_gamma, by_beta = case.gradients(case.x, case.upstream)
    assert (y.dtype, by_x.dtype, by_gamma.dtype) == (dtype, dtype, tf.float32)
    case.x, case.upstream = case.x.astype(np.float64), case.upstream.astype(np.float64)
    expected = case.expected()
    assert max(errors((y, by_x), expected[:2])) < 1.01 * rounding
    assert max(errors((by_gamma, by_beta), expected[2:])) < 3e-6


@pytest.mark.parametrize("name", ["layer", "group 2-D", "instance, element scale", "batch 2-D first"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_and_xla(name, rows, problem, jit_compile):
    case = problem(rows[name], dtype="float64")
    run = tf.function(case.gradients, jit_compile=jit_compile)
    assert max(errors(run(tf.constant(case.x), tf.constant(case.upstream)), case.expected())) < 1e-13


def directions_of(case, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in (case.x.shape, *(w.shape for w in case.weights))]


def gradient_of_squares(case, x, weights):
    """Gradient of Σ u y² with respect to x, γ and β, at any of them."""
    for variable, value in zip(case.layer.trainable_variables, weights, strict=True):
        variable.assign(value)
    sources = [tf.convert_to_tensor(x), *case.weights]
    with tf.GradientTape() as tape:
        tape.watch(sources[0])
        loss = tf.reduce_sum(case.upstream * case.call(sources[0]) ** 2)
    return tape.gradient(loss, sources)


def test_second_derivatives_equal_finite_differences(row, problem):
    case = problem(row, dtype="float64")
    start = [case.x, *(w.numpy() for w in case.weights)]
    directions = directions_of(case)
    x = tf.constant(case.x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        gradient = gradient_of_squares(case, x, start[1:])
        slope = sum(tf.reduce_sum(g * d) for g, d in zip(gradient, directions, strict=True))
    exact = outer.gradient(slope, [x, *case.layer.trainable_variables])

    def at(step):
        moved = [s + step * d for s, d in zip(start, directions, strict=True)]
        return [np.asarray(g) for g in gradient_of_squares(case, moved[0], moved[1:])]

    def difference(h):
        return [(a - b) / (2 * h) for a, b in zip(at(h), at(-h), strict=True)]

    rough, fine = difference(2e-4), difference(1e-4)
    numeric = [(4 * f - r) / 3 for f, r in zip(fine, rough, strict=True)]
    assert max(errors(exact, numeric)) < 1e-8


@pytest.mark.parametrize(
    ("name", "regime"), [("layer", "graph"), ("group 2-D", "eager"), ("batch 2-D", "eager")]
)
def test_forward_mode(name, regime, rows, problem):
    """A forward accumulator's product, alone and over a tape, equals reverse mode's."""
    case = problem(rows[name], dtype="float64")
    x, direction = tf.constant(case.x), tf.constant(directions_of(case)[0])
    call = case.call if regime == "eager" else tf.function(case.call)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(case.upstream * call(x) ** 2)
        return tape.gradient(loss, x)

    with tf.autodiff.ForwardAccumulator(x, direction) as accumulator:
        y, slope = call(x), gradient(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        along = tf.reduce_sum(gradient(x) * direction)
        value = tf.reduce_sum(case.upstream * call(x))
    forward = tf.reduce_sum(case.upstream * accumulator.jvp(y))
    np.testing.assert_allclose(forward, tf.reduce_sum(tape.gradient(value, x) * direction), rtol=1e-10)
    assert errors([accumulator.jvp(slope)], [tape.gradient(along, x).numpy()])[0] < 1e-10


def test_third_derivatives(problem, rows):
    """Of Σ y³ along one line, by nested tapes and by differences of the second derivative."""
    case = problem(rows["group 2-D"], dtype="float64")
    line = tf.constant(directions_of(case)[0])

    def second(t):
        with tf.GradientTape() as outer:
            outer.watch(t)
            with tf.GradientTape() as inner:
                inner.watch(t)
                value = tf.reduce_sum(case.upstream * case.call(case.x + t * line) ** 3)
            first = inner.gradient(value, t)
        return outer.gradient(first, t)

    t = tf.constant(0.1, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(t)
        value = second(t)
    h = 1e-4
    numeric = (second(t + h) - second(t - h)) / (2 * h)
    np.testing.assert_allclose(tape.gradient(value, t), numeric, rtol=1e-6)


MODELS = {
    "layer": tfopt.layers.LayerNormalization,
    "group": lambda **k: tfopt.layers.GroupNormalization(2, **k),
    "batch": tfopt.layers.BatchNormalization,
    "lstm": lambda **k: keras.layers.RNN(tfopt.layers.LayerNormLSTMCell(4, **k), **k),
    "gru": lambda **k: keras.layers.RNN(tfopt.layers.LayerNormGRUCell(4, **k), **k),
}
QUICK = [("layer", True), ("group", False), ("batch", False)]
PRODUCTS = [
    (name, jit) if (name, jit) in QUICK else pytest.param(name, jit, marks=pytest.mark.slow)
    for name in MODELS
    for jit in (False, True)
]


@pytest.mark.parametrize(("name", "jit_compile"), PRODUCTS)
def test_hessian_products_of_a_model(name, jit_compile):
    """tfopt.curvature through a normalised network, in a graph and under XLA, against differences."""
    dtype, rng = "float64", np.random.default_rng(0)
    # Where a draw of the weights leaves a group almost constant, differences are no measure.
    keras.utils.set_random_seed(0)
    inner = keras.layers.Dense(4, "tanh", dtype=dtype)
    model = keras.Sequential(
        [
            keras.Input((3, 2), dtype=dtype),
            inner,
            MODELS[name](dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )
    loss = keras.losses.MeanSquaredError(dtype=dtype)
    model.compile(loss=loss)
    x = rng.normal(size=(5, 3, 2))
    y = rng.normal(size=(5, *model.output_shape[1:]))
    options = {"training": True, "jit_compile": jit_compile}
    hessian = tfopt.curvature.hessian_operator(model, x, y, **options)
    vector = rng.normal(size=hessian.shape[0])
    weights = [v.numpy() for v in model.trainable_variables]
    moves = [np.array(part) for part in hessian.nest(vector)]

    def gradient(step):
        for variable, value, move in zip(model.trainable_variables, weights, moves, strict=True):
            variable.assign(value + step * move)
        return hessian.gradient()

    numeric = (4 * (gradient(1e-4) - gradient(-1e-4)) / 2e-4 - (gradient(2e-4) - gradient(-2e-4)) / 4e-4) / 3
    gradient(0.0)
    assert errors([hessian @ vector], [numeric])[0] < 1e-7


def test_second_derivatives_inside_a_loop():
    """Each order of a loop's derivative is a graph of its own, with the mask made inside the loop."""
    rng = np.random.default_rng(0)
    w, x, direction = (tf.constant(part) for part in rng.normal(size=(3, 4, 4)))
    gamma, beta = (tf.constant(part) for part in rng.normal(size=(2, 1, 4)))

    def gradient(w):
        def step(index, state):
            mask = x + tf.cast(index, x.dtype) < 2.0
            y, _ = normalize(state @ w + x, gamma, beta, Region((1,), mask), 1e-3)
            return index + 1, y

        with tf.GradientTape() as tape:
            tape.watch(w)
            _, state = tf.while_loop(lambda index, state: index < 3, step, (0, x))
            value = tf.reduce_sum(tf.sin(state))
        return tape.gradient(value, w)

    @tf.function
    def product(w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            slope = gradient(w)
        return tape.gradient(slope, w, output_gradients=direction)

    traced = tf.function(gradient)

    def difference(h):
        return (traced(w + h * direction) - traced(w - h * direction)).numpy() / (2 * h)

    numeric = (4 * difference(1e-5) - difference(2e-5)) / 3
    assert errors([product(w)], [numeric])[0] < 1e-8


def test_the_backward_pass_does_not_differentiate_the_statistics(monkeypatch):
    """First derivatives come from the explicit formulas: no second look at the statistics is taken."""
    calls = []
    real = tfopt.layers._normalize.statistics
    monkeypatch.setattr(
        "tfopt.layers._normalize.statistics", lambda *given: calls.append(given) or real(*given)
    )
    x, one = tf.random.normal((3, 4)), tf.ones((1, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, _ = normalize(x, one, 0.0 * one, Region((1,)), 1e-3)
    tape.gradient(y, x)
    assert len(calls) == 1


KERAS = {
    "layer": (keras.layers.LayerNormalization, {}),
    "layer of two axes": (keras.layers.LayerNormalization, {"axis": [1, 2]}),
    "group 2-D": (keras.layers.GroupNormalization, {"groups": 2}),
    "group 1-D first": (keras.layers.GroupNormalization, {"groups": 3, "axis": 1}),
    "instance 1-D": (keras.layers.GroupNormalization, {"groups": -1}),
    "instance 2-D first": (keras.layers.GroupNormalization, {"groups": -1, "axis": 1}),
    "instance 3-D": (keras.layers.GroupNormalization, {"groups": -1}),
    "batch 2-D": (keras.layers.BatchNormalization, {}),
    "batch 2-D first": (keras.layers.BatchNormalization, {"axis": 1}),
}


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 5e-6), ("mixed_bfloat16", 2.0**-6)]
)
def test_keras_agrees(name, rows, problem, dtype, tolerance):
    """Weights go over, outputs and first derivatives agree, and so do moving statistics."""
    case, other = (problem(rows[name], dtype=dtype) for _ in range(2))
    make, options = KERAS[name]
    other.layer = make(epsilon=1e-3, dtype=dtype, **options)
    other.layer.build(case.x.shape)
    other.layer.set_weights(case.layer.get_weights())
    if name.startswith("batch"):
        other.call = lambda x: other.layer(x, training=True)
    given = [tf.cast(part, case.layer.compute_dtype) for part in (case.x, case.upstream)]
    found, expected = (c.gradients(*given) for c in (case, other))
    assert max(errors(found, [np.asarray(part, np.float64) for part in expected])) < tolerance
    for ours, theirs in zip(case.layer.get_weights(), other.layer.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=min(tolerance, 1e-5))
