"""The common contract: one row per optimizer, every option and every way of running it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.optimizers._state import FLAGS

SETTINGS = {
    "SGD": [{}],
    "Momentum": [{"learning_rate": 0.05}],
    "Nesterov": [
        {"learning_rate": 0.05, "momentum": keras.optimizers.schedules.PolynomialDecay(0.3, 20, 0.9)}
    ],
    "DeltaBarDelta": [{"learning_rate": 0.05}],
    "AdaGrad": [{"learning_rate": 0.05}],
    "RMSProp": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "momentum": 0.5, "nesterov": True, "centered": True},
    ],
    "AdaDelta": [{"window": 10}],
    "Adam": [
        {"learning_rate": 0.01, "epsilon_mode": "inside"},
        {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.02, 5, 0.9), "amsgrad": True},
    ],
    "AMSGrad": [{"learning_rate": 0.01}, {"learning_rate": 0.01, "variant": "recursive"}],
    "NAdam": [{"learning_rate": 0.01}, {"learning_rate": 0.01, "form": "lookahead"}],
    "AdamThenSGD": [{"learning_rate": 0.01, "switch_at": 5}],
    "PolyakAverage": [{"start_step": 3}, {"decay": 0.8}],
    "GaussianSmoothing": [
        {"sigma": keras.optimizers.schedules.PolynomialDecay(0.05, 20, 0.0), "antithetic": False, "seed": 1}
    ],
    "BlockCoordinateDescent": [
        {"blocks": "layer", "steps_per_block": 2, "seed": 1},
        {"blocks": ["."], "order": "greedy", "seed": 2},
    ],
}
# What wrappers are around; options go there.
INNER = {
    "PolyakAverage": lambda **options: tfopt.Nesterov(0.05, **options),
    "GaussianSmoothing": lambda **options: tfopt.Nesterov(0.05, **options),
    "BlockCoordinateDescent": lambda **options: tfopt.Adam(0.02, **options),
}
ROWS = [(name, settings) for name, rows in SETTINGS.items() for settings in rows]


def row(name, *settings, **options):
    """A set of parameters."""
    # It evaluates several times a step; what of this it can break, its own tests look at.
    marks = pytest.mark.slow if name == "GaussianSmoothing" else ()
    return pytest.param(name, *settings, marks=marks, **options)


EACH = pytest.mark.parametrize(
    ("name", "settings"), [row(*one, id=f"{one[0]}-{i}") for i, one in enumerate(ROWS)]
)
WRAPPERS = [row(name) for name in INNER]

RNG = np.random.default_rng(7)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3))).argmax(1)


def make(name, settings, **options):
    """An optimizer; options of a wrapper go to the optimizer inside."""
    if name in INNER:
        return getattr(tfopt, name)(INNER[name](**options), **settings)
    return getattr(tfopt, name)(**settings, **options)


def model_with(optimizer, dtype=None, **compile_options):
    keras.utils.set_random_seed(3)
    hidden = keras.layers.Dense(5, "tanh", name="hidden", dtype=dtype)
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, name="top", dtype=dtype)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **{"jit_compile": False} | compile_options)
    return model


def train(model, epochs=2, batch_size=8, **options):
    return model.fit(X, Y, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0, **options)


def network(dtype="float32"):
    """Weights of a small network without a Keras model around them: quick to build and to trace."""
    rng = np.random.default_rng(1)
    shapes = {"hidden/kernel": (6, 5), "hidden/bias": (5,), "top/kernel": (5, 3), "top/bias": (3,)}
    return [
        keras.Variable(rng.normal(size=s) / 2, dtype=dtype, name=n.replace("/", "_"))
        for n, s in shapes.items()
    ]


def loss_of(weights, x, y):
    dtype = weights[0].dtype
    kernel, bias, top, shift = (w.value for w in weights)
    logits = tf.tanh(tf.cast(x, dtype) @ kernel + bias) @ top + shift
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, tf.cast(logits, "float32")))


def train_network(optimizer, weights, batch_size=8, epochs=2, jit_compile=None, eager=False):
    """The loop a user would write."""

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(weights, x, y)
        optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)

    optimizer.build(weights)
    run = step if eager else tf.function(step, jit_compile=jit_compile)
    for _ in range(epochs):
        for k in range(0, len(X), batch_size):
            run(X[k : k + batch_size], Y[k : k + batch_size])
    return [w.numpy() for w in weights]


def train_replicas(strategy, optimizer, weights, batch_size=8, epochs=2):
    """The same loop with every batch split over the replicas."""
    count = strategy.num_replicas_in_sync

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(weights, x, y) / count
        optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)

    @tf.function
    def run(xs, ys):
        strategy.run(step, args=(xs, ys))

    def share(batch):
        parts = np.split(batch, count)
        return strategy.experimental_distribute_values_from_function(
            lambda replica: tf.constant(parts[replica.replica_id_in_sync_group])
        )

    for _ in range(epochs):
        for k in range(0, len(X), batch_size):
            run(share(X[k : k + batch_size]), share(Y[k : k + batch_size]))
    return [w.numpy() for w in weights]


def arrays(model):
    return [w.numpy() for w in model.weights]


def state_of(optimizer):
    return [v.numpy() for v in optimizer.variables]


def assert_close(left, right, tolerance=1e-6):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def moved(before, after):
    return max(np.abs(a - b).max() for a, b in zip(before, after, strict=True))


def test_every_optimizer_has_a_row():
    assert set(SETTINGS) == {*tfopt.optimizers.FIRST_ORDER, *tfopt.optimizers.COMPOSED}


# -- configuration ------------------------------------------------------------------------------------


@EACH
def test_configuration_round_trip(name, settings):
    options = {
        "clipnorm": 2.0,
        "weight_decay": 0.01,
        "gradient_accumulation_steps": 3,
        "learning_rate_multipliers": {"top": 0.5},
        "weight_decay_exclude": ["bias"],
        "skip_nonfinite": True,
        "fused": False,
    }
    optimizer = make(name, settings, **options)
    for again in (
        type(optimizer).from_config(optimizer.get_config()),
        keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)),
        keras.optimizers.get(keras.optimizers.serialize(optimizer)),
    ):
        assert type(again) is type(optimizer)
        assert keras.optimizers.serialize(again) == keras.optimizers.serialize(optimizer)
        assert {k: getattr(again, k) for k in options} == {k: getattr(optimizer, k) for k in options}


@EACH
def test_configuration_names_every_argument(name, settings):
    arguments = make(name, settings).get_config()
    assert settings.keys() <= arguments.keys()


def test_learning_rate_set_by_hand_is_saved():
    optimizer = tfopt.Adam(0.5)
    optimizer.learning_rate = 0.25
    wrapper = tfopt.PolyakAverage(tfopt.SGD(0.5))
    wrapper.learning_rate = 0.25
    assert optimizer.get_config()["learning_rate"] == 0.25
    assert float(type(wrapper).from_config(wrapper.get_config()).learning_rate) == 0.25


# -- saving -------------------------------------------------------------------------------------------


@EACH
def test_saved_and_loaded_run_goes_on_bit_for_bit(name, settings, tmp_path):
    model = model_with(make(name, settings, use_ema=name not in INNER, gradient_accumulation_steps=3))
    train(model)  # 8 train steps: two updates, and two gradients waiting in the accumulator
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(state_of(model.optimizer), state_of(loaded.optimizer))
    train(model)
    train(loaded)
    assert_equal(arrays(model), arrays(loaded))
    assert_equal(state_of(model.optimizer), state_of(loaded.optimizer))


@EACH
def test_interrupted_fit_equals_uninterrupted(name, settings, tmp_path):
    """Saved in the middle of `fit`, loaded and finished: bit-equal to the run that went through."""
    middle = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras", save_freq=5)
    through = model_with(make(name, settings))
    through.fit(X, Y, epochs=2, batch_size=4, shuffle=False, verbose=0)
    stopped = model_with(make(name, settings))
    stopped.fit(X[:20], Y[:20], epochs=1, batch_size=4, shuffle=False, verbose=0, callbacks=[middle])
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    rest = [np.concatenate([a[20:], a]) for a in (X, Y)]
    resumed.fit(*rest, epochs=1, batch_size=4, shuffle=False, verbose=0)
    assert_equal(arrays(through), arrays(resumed))


def test_checkpoint_of_tensorflow_restores(tmp_path):
    model = model_with(tfopt.Adam(0.01))
    train(model)
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(tmp_path / "state")
    fresh = model_with(tfopt.Adam(0.01))
    fresh.optimizer.build(fresh.trainable_variables)
    tf.train.Checkpoint(model=fresh, optimizer=fresh.optimizer).restore(path).assert_consumed()
    train(model)
    train(fresh)
    assert_equal(arrays(model), arrays(fresh))


# -- dtypes -------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_dtypes_train(name, settings, dtype):
    weights = network(dtype)
    optimizer = make(name, settings)
    first = float(loss_of(weights, X, Y))
    train_network(optimizer, weights, epochs=8)
    wide = "float64" if dtype == "float64" else "float32"
    vectors = [v for (slot, _), v in optimizer.named_state() if v.shape != () and slot not in FLAGS]
    assert all(v.dtype == wide for v in vectors)
    optimizer.to_evaluation_weights()
    assert all(w.dtype == dtype for w in weights)
    assert float(loss_of(weights, X, Y)) < 0.95 * first


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("name", ["Adam", "Nesterov", *WRAPPERS])
def test_precision_policies_train(name, policy):
    model = model_with(make(name, SETTINGS[name][0]), dtype=policy)
    first = model.evaluate(X, Y, verbose=0)
    train(model, epochs=8)
    assert model.evaluate(X, Y, verbose=0) < 0.95 * first


def test_bfloat16_moments_follow_float32():
    """beta_2 = 0.999 would round to 1 in bfloat16; the slots and the scalars must not."""
    gradient = [tf.constant([0.5, -2.0, 1e-3])]
    narrow, wide = (keras.Variable(np.ones(3), dtype=dtype) for dtype in ("bfloat16", "float32"))
    optimizers = tfopt.Adam(0.125), tfopt.Adam(0.125)
    for optimizer, weight in zip(optimizers, (narrow, wide), strict=True):
        for _ in range(4):
            optimizer.apply([tf.cast(gradient[0], weight.dtype)], [weight])
    np.testing.assert_allclose(narrow.numpy().astype("float32"), wide.numpy(), atol=1e-2)
    np.testing.assert_allclose(wide.numpy(), [0.5, 1.5, 0.5], atol=1e-4)


# -- ways of running ----------------------------------------------------------------------------------


@EACH
def test_eager_graph_and_jit_agree(name, settings):
    options = {"gradient_accumulation_steps": 2, "weight_decay": 0.01, "global_clipnorm": 0.5}
    graph, jit, eager = (
        train_network(make(name, settings, **options), network(), **how)
        for how in ({}, {"jit_compile": True}, {"eager": True})
    )
    assert_close(graph, jit)
    assert_close(graph, eager)


@pytest.mark.parametrize("name", ["RMSProp", "AdamThenSGD", *WRAPPERS])
@pytest.mark.parametrize("how", [{"jit_compile": True}, {"run_eagerly": True}], ids=["jit", "eager"])
def test_fit_agrees_with_the_loop_by_hand(name, how):
    plain, other = (
        model_with(make(name, SETTINGS[name][-1])),
        model_with(make(name, SETTINGS[name][-1]), **how),
    )
    train(plain)
    train(other)
    assert_close(arrays(plain), arrays(other))


@pytest.mark.parametrize("name", ["Adam", *WRAPPERS])
def test_made_in_the_graph_that_uses_it_an_optimizer_is_as_one_made_outside(name):
    outside, inside = make(name, SETTINGS[name][0]), []
    weights = [keras.Variable(np.ones(4), name="weight") for _ in range(2)]

    @tf.function
    def step():
        if not inside:
            inside.append(make(name, SETTINGS[name][0]))
        inside[0].apply([weights[0] * [1.0, -2.0, 0.5, 3.0]], weights[:1])

    for _ in range(4):
        step()
        outside.apply([weights[1] * [1.0, -2.0, 0.5, 3.0]], weights[1:])
    assert_close([weights[0].numpy()], [weights[1].numpy()])


@EACH
def test_no_retracing_when_the_learning_rate_changes(name, settings):
    optimizer = make(name, settings)
    scheduled = callable(optimizer.learning_rate_argument())  # changes by itself, and cannot be set
    weight = keras.Variable(np.ones(4))
    optimizer.build([weight])
    traces = []

    @tf.function
    def step(gradient):
        traces.append(1)
        optimizer.apply([gradient], [weight])

    for rate in (0.5, 0.25, 0.125):
        if not scheduled:
            optimizer.learning_rate = rate
        step(tf.ones(4))
    assert len(traces) == 1


@EACH
def test_sparse_gradients_equal_dense_ones(name, settings):
    """IndexedSlices with repeated and absent rows: the same step as their dense form."""
    slices = tf.IndexedSlices(
        tf.constant([[1.0, 2.0], [3.0, -4.0], [0.5, 0.5]]), tf.constant([2, 0, 2]), (4, 2)
    )
    sparse, dense = (keras.Variable(np.ones((4, 2)), name="table") for _ in range(2))
    optimizers = [make(name, settings, clipnorm=3.0) for _ in range(2)]
    for _ in range(6):
        optimizers[0].apply([slices], [sparse])
        optimizers[1].apply([tf.convert_to_tensor(slices)], [dense])
    assert_equal([sparse.numpy(), *state_of(optimizers[0])], [dense.numpy(), *state_of(optimizers[1])])


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam"])
def test_an_embedding_trains(name):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *layers])
    model.compile(
        make(name, SETTINGS[name][-1]), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    tokens = np.random.default_rng(0).integers(0, 20, (64, 3))
    labels = (tokens[:, 0] > 9).astype(int)
    losses = model.fit(tokens, labels, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "options",
    [
        {"clipnorm": 0.05, "weight_decay": 0.1},
        {"global_clipnorm": 0.05, "gradient_accumulation_steps": 2},
        {"clipvalue": 0.01, "use_ema": True, "ema_overwrite_frequency": 3},
        {"skip_nonfinite": True, "use_ema": True, "gradient_accumulation_steps": 2, "loss_scale_factor": 8.0},
    ],
    ids=lambda options: "+".join(options),
)
@EACH
def test_two_replicas_equal_one_device(name, settings, options, strategy):
    if name in INNER:
        options = {k: v for k, v in options.items() if "ema" not in k}
    single = train_network(make(name, settings, **options), network())
    with strategy.scope():
        weights, optimizer = network(), make(name, settings, **options)
        optimizer.build(weights)
    assert_close(single, train_replicas(strategy, optimizer, weights))
    assert_replicas_equal(strategy, [*weights, *optimizer.variables])


def test_optimizer_builds_itself_inside_strategy_run(strategy):
    single = train_network(tfopt.Adam(0.01), network())
    with strategy.scope():
        weights, optimizer = network(), tfopt.Adam(0.01)
    assert_close(single, train_replicas(strategy, optimizer, weights))
    assert_replicas_equal(strategy, [*weights, *optimizer.variables])


@pytest.mark.parametrize("name", ["Nesterov", "Adam", *WRAPPERS])
def test_fit_on_two_replicas_equals_one_device(name, strategy):
    options = {"global_clipnorm": 0.05, "gradient_accumulation_steps": 2}
    single = model_with(make(name, SETTINGS[name][0], **options))
    with strategy.scope():
        double = model_with(make(name, SETTINGS[name][0], **options))
    for model in (single, double):
        train(model, validation_data=(X, Y), callbacks=[tfopt.callbacks.EvaluationWeights()])
    assert_close(arrays(single), arrays(double))
    assert_replicas_equal(strategy, [*double.weights, *double.optimizer.variables])


def assert_replicas_equal(strategy, variables):
    for variable in variables:
        first, *others = (r.numpy() for r in strategy.experimental_local_results(variable.value))
        assert_equal(others, [first] * len(others))


def test_overflow_of_one_replica_skips_the_step_on_all(strategy):
    """Under loss scaling Keras looks at the first replica only; the second one overflows here."""
    with strategy.scope():
        model = model_with(keras.optimizers.LossScaleOptimizer(tfopt.Adam(0.01), initial_scale=4.0))
    x = X.copy()
    x[4:8] = np.inf  # the second half of the first batch
    before = arrays(model)
    model.fit(x[:8], Y[:8], batch_size=8, shuffle=False, verbose=0)
    assert_equal(before, arrays(model))
    assert model.optimizer.inner_optimizer.skipped_steps == 1
    model.fit(X[:8], Y[:8], batch_size=8, shuffle=False, verbose=0)
    assert moved(before, arrays(model)) > 1e-3
    assert model.optimizer.inner_optimizer.skipped_steps == 1


# -- options ------------------------------------------------------------------------------------------


@EACH
def test_accumulated_batches_equal_one_large_batch(name, settings):
    large = train_network(make(name, settings), network(), batch_size=16, epochs=3)
    options = {"gradient_accumulation_steps": 4}
    small = train_network(make(name, settings, **options), network(), batch_size=4, epochs=3)
    assert_close(large, small, 2e-6)


@EACH
def test_weight_decay_shrinks_the_iterate_before_the_update(name, settings):
    """θ(1 − λε), then the step: with a gradient that does not depend on θ, decay and step separate."""
    plain, decayed, excluded = (keras.Variable(np.full(3, 2.0), dtype="float64", name=n) for n in "abc")
    gradient = tf.constant([0.5, -1.0, 2.0], tf.float64)
    for weight, options in (
        (plain, {}),
        (decayed, {"weight_decay": 0.5}),
        (excluded, {"weight_decay": 0.5, "weight_decay_exclude": ["^c$"]}),
    ):
        optimizer = make(name, settings, **options)
        rate = float(optimizer.learning_rate)
        optimizer.apply([gradient], [weight])
        optimizer.to_evaluation_weights()
    np.testing.assert_array_equal(plain.numpy(), excluded.numpy())
    np.testing.assert_allclose(plain.numpy() - decayed.numpy(), 2.0 * 0.5 * rate, rtol=1e-6)


@EACH
@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ({"clipnorm": 1.0}, lambda gs: [tf.clip_by_norm(g, 1.0) for g in gs]),
        ({"global_clipnorm": 1.0}, lambda gs: tf.clip_by_global_norm(gs, 1.0)[0]),
        ({"clipvalue": 0.25}, lambda gs: [tf.clip_by_value(g, -0.25, 0.25) for g in gs]),
        ({"loss_scale_factor": 4.0}, lambda gs: [g / 4.0 for g in gs]),
    ],
    ids=["clipnorm", "global_clipnorm", "clipvalue", "loss_scale_factor"],
)
def test_clipping_and_unscaling_act_on_the_gradient(name, settings, options, clip):
    gradients = [tf.constant([3.0, -4.0]), tf.constant([[0.1], [-0.2]])]
    pairs = [[keras.Variable(np.ones(2)), keras.Variable(np.ones((2, 1)))] for _ in range(2)]
    with_option, by_hand = make(name, settings, **options), make(name, settings)
    for _ in range(3):
        with_option.apply(gradients, pairs[0])
        by_hand.apply(clip(gradients), pairs[1])
    assert_close(*[[w.numpy() for w in pair] for pair in pairs], 1e-7)


@pytest.mark.parametrize("name", [n for n in SETTINGS if n not in INNER])
def test_exponential_average_of_the_iterates(name):
    optimizer = make(name, SETTINGS[name][0], use_ema=True, ema_momentum=0.75)
    shadow = make(name, SETTINGS[name][0])
    weight, other = keras.Variable(np.ones(2)), keras.Variable(np.ones(2))
    average = None
    for k in range(5):
        gradient = tf.constant([1.0, -0.5]) * (k - 2.5)
        optimizer.apply([gradient], [weight])
        shadow.apply([gradient], [other])
        shadow.to_evaluation_weights()
        average = other.numpy() if average is None else 0.75 * average + 0.25 * other.numpy()
        shadow.to_training_weights()
    trained = weight.numpy()
    optimizer.to_evaluation_weights()
    np.testing.assert_allclose(weight.numpy(), average, rtol=1e-6)
    optimizer.to_training_weights()
    np.testing.assert_array_equal(weight.numpy(), trained)
    optimizer.finalize_variable_values([weight])
    np.testing.assert_allclose(weight.numpy(), average, rtol=1e-6)


def test_average_overwrites_the_weights_in_time():
    optimizer = tfopt.SGD(1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    weight = keras.Variable(0.0)
    seen = []
    for _ in range(4):
        optimizer.apply([tf.constant(1.0)], [weight])
        seen.append(float(weight))
    # θ = −1 (average −1); θ = −2, average −1.5 takes its place; −2.5 (−2); −3.5, average −2.75.
    assert seen == [-1.0, -1.5, -2.5, -2.75]


def test_multipliers_scale_the_learning_rate_by_path():
    optimizer = tfopt.SGD(1.0, learning_rate_multipliers={"slow": 0.25, "frozen": 0})
    weights = [keras.Variable(1.0, name=name) for name in ("slow", "frozen", "plain")]
    optimizer.apply([tf.constant(1.0)] * 3, weights)
    assert [float(w) for w in weights] == [0.75, 1.0, 0.0]


# Where ε enters once: not as the unit of κ (DeltaBarDelta), nor beside an ε of SGD (AdamThenSGD).
RATES = {"AdaDelta": 1.0} | dict.fromkeys(
    ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam", "AMSGrad", "NAdam"), 0.01
)


@pytest.mark.parametrize(("name", "settings"), [row for row in ROWS if row[0] in RATES])
def test_multiplier_equals_another_learning_rate(name, settings):
    """All of ε, in every scalar of the rule."""
    half = make(name, settings | {"learning_rate": RATES[name]}, learning_rate_multipliers={".": 0.5})
    other = make(name, settings | {"learning_rate": RATES[name] / 2})
    weights = [keras.Variable(np.ones(3), dtype="float64") for _ in range(2)]
    for k in range(6):
        for optimizer, weight in zip((half, other), weights, strict=True):
            optimizer.apply([tf.constant([1.0, -2.0, 0.1], tf.float64) * (k - 2)], [weight])
    assert_close([weights[0].numpy()], [weights[1].numpy()], 1e-7)


@EACH
def test_constraints_hold_for_the_weights_shown(name, settings):
    optimizer = make(name, settings)
    dense = keras.layers.Dense(1, use_bias=False, kernel_constraint=keras.constraints.NonNeg())
    dense.build((None, 3))
    dense.kernel.assign([[0.01], [0.01], [0.01]])
    for _ in range(30):
        optimizer.apply([tf.ones((3, 1))], [dense.kernel])
    optimizer.to_evaluation_weights()
    assert (dense.kernel.numpy() >= 0).all()
    assert dense.kernel.numpy().min() == 0 or name == "PolyakAverage"


@EACH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_gradient(name, settings, bad):
    weights = [keras.Variable(np.ones(2)), keras.Variable(np.ones(3))]
    good = [tf.constant([1.0, -2.0]), tf.ones(3)]
    broken = [tf.constant([bad, 1.0]), tf.ones(3)]
    careful = make(name, settings, skip_nonfinite=True)
    shadow_weights = [keras.Variable(np.ones(2)), keras.Variable(np.ones(3))]
    shadow = make(name, settings)
    for gradients in (good, broken, good, broken, good):
        before = [w.numpy() for w in weights] + [s for s in state_of(careful) if s.shape != ()]
        careful.apply(gradients, weights)
        if gradients is broken:
            assert_equal(
                before, [w.numpy() for w in weights] + [s for s in state_of(careful) if s.shape != ()]
            )
        else:
            shadow.apply(gradients, shadow_weights)
    assert careful.skipped_steps == 2
    assert_equal([w.numpy() for w in weights], [w.numpy() for w in shadow_weights])
    default = make(name, settings)
    default.apply(broken, weights)
    assert not all(np.isfinite(w.numpy()).all() for w in weights) or name == "DeltaBarDelta"


def test_missing_gradients_leave_their_variables_alone():
    weights = [keras.Variable(1.0, name="used"), keras.Variable(1.0, name="unused")]
    optimizer = tfopt.Adam(0.1, weight_decay=0.5)
    with pytest.warns(UserWarning, match="unused"):
        optimizer.apply([tf.constant(1.0), None], weights)
    assert float(weights[0]) < 1.0 == float(weights[1])


def test_second_set_of_variables_is_refused():
    optimizer = tfopt.Adam()
    optimizer.apply([tf.constant(1.0)], [keras.Variable(1.0)])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([tf.constant(1.0)], [keras.Variable(1.0)])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "gradient", [tf.ones(1), tf.IndexedSlices(tf.ones(1), tf.constant([0]), tf.constant([3]))]
)
def test_a_gradient_of_another_shape_is_refused(gradient, fused):
    weight = keras.Variable([1.0, 1.0], name="w")
    with pytest.raises(ValueError, match=r"Adam: expected a gradient of shape \(2,\) for w, got \((1|3),\)"):
        tfopt.Adam(0.1, fused=fused).apply([gradient], [weight])
    assert weight.numpy().tolist() == [1.0, 1.0]


def test_another_number_of_gradients_is_refused():
    with pytest.raises(ValueError, match=r"apply\(grads=1\): expected 2 gradients"):
        tfopt.Adam(0.1).apply([tf.ones(1)], [keras.Variable([1.0]) for _ in range(2)])


# -- bad arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in SETTINGS if n not in INNER])
@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf"), "fast", None, True])
def test_bad_learning_rates(name, rate):
    with pytest.raises(ValueError, match=rf"{name}\(learning_rate={rate!r}\): expected a finite number"):
        getattr(tfopt, name)(learning_rate=rate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate_multipliers": {"a": -1}}, "learning_rate_multipliers"),
        ({"learning_rate_multipliers": {"(": 1.0}}, "regular expressions"),
        ({"learning_rate_multipliers": ["bias"]}, r"multipliers=\['bias'\]\): expected a dict"),
        ({"weight_decay_exclude": "bias"}, r"exclude='bias'\): expected a list of regular expressions"),
        ({"weight_decay_exclude": ["["]}, "regular expressions"),
        ({"clip_norm": 1.0}, r"SGD\(clip_norm=1.0\): expected one of the options weight_decay"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "Only one of"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps"),
        ({"gradient_accumulation_steps": 2.0}, r"accumulation_steps=2.0\): expected an integer"),
        ({"weight_decay": -0.1}, r"SGD\(weight_decay=-0.1\)"),
        ({"clipnorm": 0.0}, r"SGD\(clipnorm=0.0\)"),
        ({"global_clipnorm": float("nan")}, r"SGD\(global_clipnorm=nan\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        tfopt.SGD(0.1, **options)
