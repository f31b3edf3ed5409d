"""Nesterov: the gradient really is taken at θ + αv; the rate this buys; who sees which point."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

RATE = np.float64(np.float32(0.01))


def reference(theta, gradient, alpha=lambda t: 0.9, rate=RATE, *, ahead=lambda alpha, t: alpha(t)):
    """Two lines, with a second evaluation at the look-ahead point, and what the variables should hold."""
    v = np.zeros_like(theta)
    for t in itertools.count(1):
        v = alpha(t) * v - rate * gradient(t, theta + ahead(alpha, t) * v)
        theta = theta + v
        yield theta, {"velocity": v, "query": theta + ahead(alpha, t + 1) * v}


@pytest.fixture(scope="module")
def log_cosh(start):
    """Gradient of Σ log cosh(Aθ − b): smooth, convex, not quadratic."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(20, len(start))), rng.normal(size=20)
    return lambda t, theta: a.T @ np.tanh(a @ theta - b)


@pytest.mark.parametrize("alpha", [0.9, 0.5, 0.0])
def test_equals_the_loop_with_a_second_evaluation(alpha, drive, start, log_cosh, assert_equal):
    run = drive(tfopt.Nesterov(0.01, momentum=alpha), start, log_cosh, steps=30, shown=True)
    assert_equal(run, reference(start, log_cosh, lambda t: alpha))


def test_equals_the_reference_on_gradients_of_many_scales(drive, start, gradients, assert_equal):
    assert_equal(drive(tfopt.Nesterov(0.01), start, gradients, shown=True), reference(start, gradients))


def test_momentum_may_be_a_schedule(drive, start, log_cosh, momentum_schedule, assert_equal, assert_differs):
    schedule, alpha = momentum_schedule
    run = drive(tfopt.Nesterov(0.01, momentum=schedule), start, log_cosh, shown=True)
    assert_equal(run, reference(start, log_cosh, alpha))
    assert_differs(run, reference(start, log_cosh, alpha, ahead=lambda alpha, t: alpha(max(t - 1, 1))))
    assert_differs(run, reference(start, log_cosh, lambda t: alpha(t + 1)))


@pytest.fixture(scope="module")
def usual(drive, start, log_cosh):
    """The run with the default arguments, to hold wrong formulas against."""
    return drive(tfopt.Nesterov(0.01), start, log_cosh, shown=True)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(alpha=lambda t: 0.9 + 1e-6),
        dict(rate=RATE * (1 + 1e-5)),
        dict(ahead=lambda alpha, t: 0.0),
        dict(ahead=lambda alpha, t: 1.0),
    ],
    ids=["alpha", "rate", "heavy_ball", "look_ahead_by_v"],
)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, log_cosh, assert_differs):
    assert_differs(usual, reference(start, log_cosh, **wrong))


def test_variables_hold_what_keras_holds(drive, drive_keras, start, log_cosh):
    ours = drive(tfopt.Nesterov(0.01, momentum=0.75), start, log_cosh).queries
    theirs = drive_keras(keras.optimizers.SGD(0.01, momentum=0.75, nesterov=True), start, log_cosh)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_looking_at_the_iterate_leaves_the_run_alone(drive, start, log_cosh):
    looked = drive(tfopt.Nesterov(0.01), start, log_cosh, shown=True)
    alone = drive(tfopt.Nesterov(0.01), start, log_cosh)
    np.testing.assert_allclose(looked.queries, alone.queries, rtol=0, atol=1e-13)


@keras.saving.register_keras_serializable(package="tests")
class Accelerating(keras.optimizers.schedules.LearningRateSchedule):
    """k/(k + 3): the momentum of the O(1/k²) theorem."""

    def __call__(self, step):
        step = tf.cast(step, tf.float64)
        return step / (step + 3.0)

    def get_config(self):
        return {}


def test_excess_error_falls_like_1_over_k_squared_where_descent_gives_1_over_k(drive, slope):
    # Curvatures dense in (0, 1] with equal energy each: descent's error is ½Σ(1−h)^2k, about n/(4k).
    n, steps = 20_000, 200
    h = (np.arange(n) + 0.5) / n
    theta = 1 / np.sqrt(h)
    k = np.arange(1, steps + 1)

    def excess(optimizer):
        run = drive(optimizer, theta, lambda t, point: h * point, steps=steps, shown=True)
        return 0.5 * np.sum(h * np.square(run.iterates), axis=1)

    descent, accelerated = excess(tfopt.SGD(1.0)), excess(tfopt.Nesterov(1.0, momentum=Accelerating()))
    assert slope(k[50:], descent[50:]) == pytest.approx(-1.0, abs=0.05)
    assert slope(k[50:], accelerated[50:]) == pytest.approx(-2.0, abs=0.12)
    assert np.all(accelerated <= 2 * np.sum(theta**2) / (k + 1) ** 2)  # the theorem's bound, ε = 1/L = 1


def test_fit_equals_the_reference_and_leaves_the_iterate(least_squares):
    run = least_squares.fit(tfopt.Nesterov(0.01), steps=12)
    path = list(itertools.islice(reference(run.start, least_squares.gradient), 12))
    held = [slots["query"] for _, slots in path]
    np.testing.assert_allclose(run.queries, held, rtol=0, atol=1e-13)
    np.testing.assert_allclose(run.final, path[-1][0], rtol=0, atol=1e-13)
    assert np.abs(run.final - held[-1]).max() > 1e-3


def test_validation_sees_the_iterate_through_evaluation_weights(least_squares):
    model = least_squares.model(tfopt.Nesterov(0.01))
    history = model.fit(
        least_squares.batches(),
        epochs=3,
        steps_per_epoch=4,
        shuffle=False,
        verbose=0,
        validation_data=least_squares.batches().take(1),
        callbacks=[tfopt.callbacks.EvaluationWeights()],
    )
    path = list(itertools.islice(reference(least_squares.theta, least_squares.gradient), 12))
    expected = [least_squares.loss(path[t - 1][0]) for t in (4, 8, 12)]
    at_query = [least_squares.loss(path[t - 1][1]["query"]) for t in (4, 8, 12)]
    np.testing.assert_allclose(history.history["val_loss"], expected, rtol=1e-6)
    assert np.min(np.abs(np.subtract(expected, at_query)) / expected) > 1e-3
    np.testing.assert_allclose(least_squares.weights(model), path[-1][0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("momentum", 1.0), ("momentum", -0.1), ("momentum", None), ("learning_rate", -1.0)],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.Nesterov, argument, value)
