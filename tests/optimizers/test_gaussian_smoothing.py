"""GaussianSmoothing: unbiased gradients of the blurred objective, the inner method at σ = 0, escape."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

INNERS = {
    "sgd": lambda: tfopt.SGD(0.01, fused=False),
    "adam": lambda: tfopt.Adam(0.01, fused=False),
    "nesterov": lambda: tfopt.Nesterov(0.01, momentum=0.5, fused=False),
    "nadam": lambda: tfopt.NAdam(0.01, form="lookahead", fused=False),
    "average": lambda: tfopt.PolyakAverage(tfopt.SGD(0.01)),
    "blocks": lambda: tfopt.BlockCoordinateDescent(tfopt.Nesterov(0.01, weight_decay=0.1)),
}
NARROWING = keras.optimizers.schedules.PolynomialDecay(0.2, 6, 0.0)


@keras.saving.register_keras_serializable(package="tests")
def halved(updates):
    return 0.25 * 0.5**updates


def scattered(sigma, count=100_000, dtype="float64", updates=4, **options):
    """Displacements of `count` weights of 0 in float64, evaluation by evaluation, from the second on."""
    weights = [keras.Variable(np.zeros(count), dtype=dtype, name=name) for name in "ab"]
    optimizer = tfopt.GaussianSmoothing(tfopt.SGD(1.0), sigma, **{"seed": 5} | options)
    seen = []
    for _ in range(updates):
        optimizer.apply([tf.zeros(count, dtype)] * 2, weights)
        seen.append(np.stack([w.numpy() for w in weights]).astype("float64"))
    return np.array(seen)


# -- the noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_displacements_are_normal_and_independent(dtype):
    z = scattered(0.5, dtype=dtype).reshape(8, -1) / 0.5
    np.testing.assert_allclose(np.corrcoef(z), np.eye(8), atol=0.02)
    for moment, expected in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        np.testing.assert_allclose((z**moment).mean(axis=1), expected, atol=0.15)
    assert 3.8 < np.abs(z).max() < 7.0  # the tails are there


def test_samples_of_one_update_differ_and_antithetic_ones_are_pairs():
    plain, pairs = (scattered(0.5, samples=4, antithetic=a, updates=8) for a in (False, True))
    assert np.abs(np.corrcoef(plain.reshape(8, -1)) - np.eye(8)).max() < 0.02
    # The update happens in the fourth evaluation, and what is seen first are the second's displacements.
    np.testing.assert_array_equal(pairs[3], -pairs[4])
    np.testing.assert_array_equal(pairs[5], -pairs[6])
    assert np.abs(np.corrcoef(pairs[3].ravel(), pairs[5].ravel())[0, 1]) < 0.02


def test_the_seed_decides():
    first, again, other = (scattered(0.5, count=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_without_a_seed_keras_decides():
    def drawn(seed):
        keras.utils.set_random_seed(seed)
        return scattered(0.5, count=5, seed=None)

    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert (drawn(3) != drawn(4)).all()


def test_the_batches_of_one_evaluation_see_one_point():
    inner = tfopt.SGD(0.1, gradient_accumulation_steps=3)
    optimizer = tfopt.GaussianSmoothing(inner, 0.5, samples=2, antithetic=True, seed=1)
    weight = keras.Variable(np.zeros(4))
    points = [weight.numpy()]
    for _ in range(14):
        optimizer.apply([tf.zeros(4)], [weight])
        points.append(weight.numpy())
    assert [len(np.unique(points[a:b], axis=0)) for a, b in ((0, 3), (3, 6), (6, 9), (9, 12))] == [1] * 4
    np.testing.assert_array_equal(points[6], -points[9])
    assert (points[6] != points[12]).all()


def test_weights_frozen_by_a_multiplier_stay():
    inner = tfopt.SGD(0.1, learning_rate_multipliers={"frozen": 0.0})
    optimizer = tfopt.GaussianSmoothing(inner, 0.5, seed=1)
    weights = [keras.Variable(np.ones(4), name=name) for name in ("frozen", "free")]
    optimizer.apply([tf.zeros(4)] * 2, weights)
    np.testing.assert_array_equal(weights[0], np.ones(4))
    assert (weights[1].numpy() != 1.0).all()


# -- the gradient -------------------------------------------------------------------------------------

A, C, W, X0 = 1.5, 2.0, 3.0, 0.7  # J(x) = a x²/2 + c cos(wx) for each weight x


def slope_of(x):
    return A * x - C * W * np.sin(W * x)


def blurred_slope_of(x, sigma):
    """The derivative of E J(x + σz), in closed form."""
    return A * x - C * W * np.exp(-((W * sigma) ** 2) / 2) * np.sin(W * x)


@pytest.mark.parametrize("options", [{}, {"samples": 3}, {"samples": 2, "antithetic": True}], ids=str)
def test_the_gradient_of_the_blurred_objective_is_unbiased(options):
    """Many equal weights, each with its own noise: their mean step is the smoothed gradient."""
    sigma, count, samples = 0.4, 200_000, options.get("samples", 1)
    weight = keras.Variable(np.full(count, X0), dtype="float64")
    optimizer = tfopt.GaussianSmoothing(tfopt.SGD(1.0), sigma, seed=11, **options)
    for _ in range(samples):
        optimizer.apply([tf.zeros(count, tf.float64)], [weight])
    for _ in range(samples):
        optimizer.apply([tf.constant(slope_of(weight.numpy()))], [weight])
    optimizer.to_evaluation_weights()
    steps = X0 - weight.numpy()
    error = 5 * steps.std() / np.sqrt(count)
    assert error < 0.06
    assert steps.mean() == pytest.approx(blurred_slope_of(X0, sigma), abs=error)
    assert abs(steps.mean() - slope_of(X0)) > 10 * error


def test_antithetic_pairs_are_exact_on_a_quadratic():
    weight = keras.Variable([3.0, -1.0], dtype="float64")
    optimizer = tfopt.GaussianSmoothing(tfopt.SGD(0.5), 0.7, samples=2, antithetic=True, seed=1)
    for _ in range(2):
        optimizer.apply([tf.zeros(2, tf.float64)], [weight])
    for _ in range(2):
        optimizer.apply([tf.constant(weight.numpy())], [weight])
    optimizer.to_evaluation_weights()
    np.testing.assert_allclose(weight, [1.5, -0.5], rtol=1e-15)


@pytest.mark.parametrize("samples", [1, 3])
def test_updates_follow_the_mean_gradient_at_the_points_held(samples, drive, least_squares):
    """Clipped as one gradient, σ and ε by the count of updates."""
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.5, 0.25])
    optimizer = tfopt.GaussianSmoothing(tfopt.SGD(rate, global_clipnorm=0.3), halved, samples=samples, seed=1)
    updates, theta = 6, least_squares.theta
    run = drive(optimizer, theta, least_squares.gradient, updates * samples, shown=True)
    points = [theta, *run.queries]
    for update in range(updates):
        held = points[update * samples : (update + 1) * samples]
        gradient = np.mean([least_squares.gradient(0, point) for point in held], axis=0)
        gradient *= min(1.0, 0.3 / np.linalg.norm(gradient))
        theta = theta - (0.5 if update <= 2 else 0.25) * gradient
        np.testing.assert_allclose(run.iterates[(update + 1) * samples - 1], theta, rtol=1e-12)
        spread = np.std(run.queries[(update + 1) * samples - 1] - theta)
        assert 0.3 < spread / halved(update + 1) < 2.0


# -- the method ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", INNERS.values(), ids=INNERS)
@pytest.mark.parametrize("shown", [False, True])
def test_without_blur_it_is_the_inner_optimizer_bit_for_bit(inner, shown, drive, least_squares):
    arguments = (least_squares.theta, least_squares.gradient)
    alone = drive(inner(), *arguments, shown=shown)
    run = drive(tfopt.GaussianSmoothing(inner(), 0.0), *arguments, shown=shown)
    np.testing.assert_array_equal(run.queries, alone.queries)
    np.testing.assert_array_equal(run.iterates, alone.iterates)


@pytest.mark.parametrize("inner", ["sgd", "adam", "blocks"])
def test_looking_at_the_iterate_changes_no_bit(inner, drive, least_squares):
    def run(shown):
        optimizer = tfopt.GaussianSmoothing(INNERS[inner](), NARROWING, samples=2, seed=1)
        return drive(optimizer, least_squares.theta, least_squares.gradient, shown=shown)

    np.testing.assert_array_equal(run(True).queries, run(False).queries)


def test_an_average_around_it_is_the_mean_of_its_iterates(drive, least_squares):
    arguments = (least_squares.theta, least_squares.gradient)
    make = lambda: tfopt.GaussianSmoothing(tfopt.SGD(0.1), NARROWING, seed=1)  # noqa: E731
    alone, averaged = (drive(o, *arguments, shown=True) for o in (make(), tfopt.PolyakAverage(make())))
    np.testing.assert_array_equal(averaged.queries, alone.queries)
    np.testing.assert_allclose(averaged.iterates[-1], np.mean(alone.iterates, axis=0), rtol=1e-12)


def ripples(k, w):
    """Gradient of J = ¼|w|² − Σ cos 3w: minima about every 2π/3, the lowest at 0."""
    return 0.5 * w + 3.0 * tf.sin(3.0 * w)


@pytest.mark.parametrize("seed", range(5))
def test_leaves_a_local_minimum_where_the_inner_optimizer_stays(seed, simulate):
    narrowing = keras.optimizers.schedules.PolynomialDecay(1.5, 250, 0.0)
    start = [4.0, -4.0]
    alone, blurred = (keras.Variable(start, dtype="float64") for _ in range(2))
    simulate(tfopt.SGD(0.05), alone, ripples, 300)
    assert np.abs(np.abs(alone.numpy()) - 4.0).max() < 0.3
    optimizer = tfopt.GaussianSmoothing(tfopt.SGD(0.05), narrowing, samples=4, antithetic=True, seed=seed)
    simulate(optimizer, blurred, ripples, 1200)
    np.testing.assert_allclose(blurred, 0.0, atol=1e-3)


# -- fit ----------------------------------------------------------------------------------------------

RNG = np.random.default_rng(7)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3))).argmax(1)


def model_with(optimizer, **options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(3)], name="net"
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **{"jit_compile": False} | options)
    return model


def train(model, steps, **options):
    batches = tf.data.Dataset.from_tensors((X, Y)).repeat()
    return model.fit(batches, steps_per_epoch=steps, verbose=0, **options)


def smoothing(**options):
    return tfopt.GaussianSmoothing(tfopt.Adam(0.02), NARROWING, **{"samples": 4, "seed": 2} | options)


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_saved_between_two_samples_training_goes_on_bit_for_bit(tmp_path):
    """Also where no seed was given: the one drawn is part of the state."""
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras", save_freq=6)
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        models.append(model_with(smoothing(seed=None, antithetic=True)))
    model, stopped = models
    train(model, 14)
    train(stopped, 6, callbacks=[checkpoint])
    keras.utils.set_random_seed(6)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    train(loaded, 8)
    assert_equal(loaded.get_weights(), model.get_weights())


@pytest.mark.slow
def test_jit_takes_the_same_path():
    models = [model_with(smoothing(), jit_compile=jit) for jit in (False, True)]
    for model in models:
        train(model, 24)
    for plain, compiled in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_allclose(plain, compiled, atol=1e-5)


@pytest.mark.slow
def test_replicas_agree_bit_for_bit_and_with_one_device(strategy):
    alone = model_with(smoothing())
    train(alone, 22)
    with strategy.scope():
        model = model_with(smoothing())
    train(model, 22)
    for a, b in zip(alone.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for variable in (*model.trainable_variables, *model.optimizer.variables):
        first, second = (np.asarray(v) for v in strategy.experimental_local_results(variable.value))
        np.testing.assert_array_equal(first, second)


def test_validation_sees_the_iterate():
    model = model_with(smoothing())
    callbacks = [tfopt.callbacks.EvaluationWeights()]
    history = train(model, 18, validation_data=(X, Y), callbacks=callbacks).history
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(history["val_loss"][-1], rel=1e-6)
    shown = np.concatenate([w.ravel() for w in model.get_weights()])
    state = model.optimizer.named_state()
    center = np.concatenate([v.numpy().ravel() for (slot, _), v in state if slot == "center"])
    np.testing.assert_array_equal(shown, center)


@pytest.mark.parametrize("sigma", [0.5, NARROWING, halved])
def test_configuration_round_trip(sigma):
    inner = tfopt.Adam(0.02, beta_1=0.8, clipnorm=1.0, gradient_accumulation_steps=3)
    made = tfopt.GaussianSmoothing(inner, sigma, samples=4, antithetic=True, seed=9)
    again = keras.optimizers.get(keras.optimizers.serialize(made))
    assert again.get_config() == made.get_config()
    assert (again.inner.beta_1, again.samples, again.antithetic, again.seed) == (0.8, 4, True, 9)
    assert (again.inner.gradient_accumulation_steps, again.gradient_accumulation_steps) == (3, 12)
    assert float(again.machine.sigma(3.0) if callable(sigma) else again.machine.sigma) == float(
        sigma(3.0) if callable(sigma) else sigma
    )


def test_a_learning_rate_set_by_hand_is_saved_through_two_wrappers():
    made = tfopt.PolyakAverage(tfopt.GaussianSmoothing(tfopt.SGD(0.5), 0.1))
    made.learning_rate = 0.25
    assert float(type(made).from_config(made.get_config()).learning_rate) == 0.25


# -- bad arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("sigma", -0.1),
        ("sigma", float("nan")),
        ("sigma", "wide"),
        ("samples", 0),
        ("samples", 1.5),
        ("antithetic", True),
        ("seed", -1),
        ("seed", 2**31),
        ("seed", 0.5),
        ("inner", "adam"),
        ("inner", keras.optimizers.SGD()),
        ("inner", tfopt.SGD(use_ema=True)),
        ("inner", tfopt.LBFGS()),
        ("inner", tfopt.BlockCoordinateDescent(tfopt.LBFGS())),
        ("inner", tfopt.GaussianSmoothing(tfopt.SGD(), 0.1, samples=2)),
        ("clipnorm", 1.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    others = {"inner": tfopt.SGD(), "sigma": 0.1}
    others.pop(argument, None)
    assert_refuses(tfopt.GaussianSmoothing, argument, value, **others)
