"""RMSProp: every form against its reference, the 1/√(1−ρ^τ) law, peers, arguments."""

import itertools

import keras
import numpy as np
import pytest

import tfopt

RATE = np.float64(np.float32(0.01))


def reference(
    theta,
    gradient,
    rho=0.9,
    delta=1e-6,
    alpha=lambda t: 0.0,
    *,
    nesterov=False,
    centered=False,
    inside=False,
    late=False,
    without_delta=False,
    corrected=False,
):
    r, v, m = np.zeros((3, len(theta)))
    moving = alpha(100) > 0
    for t in itertools.count(1):
        g = gradient(t, theta + alpha(t) * v if nesterov else theta)
        before = r
        r = rho * r + (1 - rho) * g**2
        m = rho * m + (1 - rho) * g
        used = before if late and t > 1 else r / (1 - rho**t) if corrected else r
        used = np.maximum(used - m**2, 0) if centered else used
        shift = 1e-300 if without_delta else delta
        v = alpha(t) * v - RATE * g / (np.sqrt(used + shift) if inside else shift + np.sqrt(used))
        theta = theta + v
        slots = {"square": r}
        if moving:
            slots["velocity"] = v
        if centered:
            slots["mean"] = m
        if nesterov:
            slots["query"] = theta + alpha(t + 1) * v
        yield theta, slots


MOMENTA = [(0.0, False), (0.9, False), (0.9, True)]


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(("momentum", "nesterov"), MOMENTA)
def test_equals_the_reference(momentum, nesterov, centered, drive, start, gradients, assert_equal):
    optimizer = tfopt.RMSProp(0.01, momentum=momentum, nesterov=nesterov, centered=centered)
    run = drive(optimizer, start, gradients, shown=True)
    options = dict(nesterov=nesterov, centered=centered)
    assert_equal(run, reference(start, gradients, alpha=lambda t: momentum, **options))


@pytest.mark.parametrize("setting", [dict(rho=0.99), dict(rho=0.0), dict(delta=1e-2)], ids=str)
def test_equals_the_reference_with_other_arguments(setting, drive, start, gradients, assert_equal):
    arguments = {("epsilon" if key == "delta" else key): value for key, value in setting.items()}
    run = drive(tfopt.RMSProp(0.01, **arguments), start, gradients)
    assert_equal(run, reference(start, gradients, **setting))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("centered", [False, True])
def test_momentum_may_be_a_schedule(
    centered, nesterov, drive, start, gradients, momentum_schedule, assert_equal, assert_differs
):
    schedule, alpha = momentum_schedule
    optimizer = tfopt.RMSProp(0.01, momentum=schedule, nesterov=nesterov, centered=centered)
    run = drive(optimizer, start, gradients, shown=True)
    options = dict(nesterov=nesterov, centered=centered)
    assert_equal(run, reference(start, gradients, alpha=alpha, **options))
    assert_differs(run, reference(start, gradients, alpha=lambda t: alpha(t + 1), **options))


@pytest.mark.parametrize("centered", [False, True])
def test_nesterov_equals_the_loop_with_a_second_evaluation(centered, drive, least_squares, assert_equal):
    optimizer = tfopt.RMSProp(0.01, momentum=0.9, nesterov=True, centered=centered)
    run = drive(optimizer, least_squares.theta, least_squares.gradient, steps=25, shown=True)
    options = dict(alpha=lambda t: 0.9, centered=centered)
    assert_equal(run, reference(run.start, least_squares.gradient, nesterov=True, **options))


WRONG = {
    "rho": dict(rho=0.9001),
    "delta": dict(delta=1e-7),
    "delta_inside": dict(inside=True),
    "no_delta": dict(without_delta=True),
    "off_by_one": dict(late=True),
    "bias_correction": dict(corrected=True),
}


@pytest.fixture(scope="module", params=MOMENTA, ids=str)
def usual(request, drive, start, gradients):
    """A run for each kind of momentum and what its reference needs, to hold wrong formulas against."""
    momentum, nesterov = request.param
    run = drive(tfopt.RMSProp(0.01, momentum=momentum, nesterov=nesterov), start, gradients, shown=True)
    return run, dict(alpha=lambda t: momentum, nesterov=nesterov)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    run, options = usual
    assert_differs(run, reference(start, gradients, **options | wrong))


@pytest.fixture(scope="module")
def centred(drive, start, gradients):
    """The centred run, to hold wrong formulas against."""
    return drive(tfopt.RMSProp(0.01, centered=True), start, gradients)


@pytest.mark.parametrize("wrong", [dict(delta=1e-7), dict(inside=True), dict(rho=0.9001)], ids=str)
def test_the_tolerance_sees_a_wrong_centred_formula(wrong, centred, start, gradients, assert_differs):
    assert_differs(centred, reference(start, gradients, centered=True, **wrong))


@pytest.mark.parametrize(("momentum", "nesterov"), MOMENTA)
def test_fit_equals_the_reference(momentum, nesterov, least_squares):
    run = least_squares.fit(tfopt.RMSProp(0.01, momentum=momentum, nesterov=nesterov))
    path = reference(run.start, least_squares.gradient, alpha=lambda t: momentum, nesterov=nesterov)
    path = list(itertools.islice(path, 12))
    held = [slots.get("query", theta) for theta, slots in path]
    np.testing.assert_allclose(run.queries, held, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.final, path[-1][0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_equals_keras_where_delta_vanishes(momentum, centered, drive, drive_keras, start, gradients):
    # Keras has δ inside the root, so its δ is the square of ours.
    options = dict(rho=0.75, momentum=momentum, centered=centered)
    theirs = drive_keras(keras.optimizers.RMSprop(0.01, epsilon=2.0**-100, **options), start, gradients)
    ours = drive(tfopt.RMSProp(0.01, epsilon=2.0**-50, **options), start, gradients).iterates
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("g", [1e-2, -1.0, 50.0])
@pytest.mark.parametrize("rho", [0.9, 0.99])
def test_a_constant_gradient_gives_steps_of_rate_over_root_of_what_is_remembered(rho, g, drive):
    optimizer = tfopt.RMSProp(0.01, rho=rho, epsilon=1e-13)
    run = drive(optimizer, np.zeros(1), lambda t, point: np.array([g]), steps=40)
    steps = np.diff([run.start, *run.iterates], axis=0)[:, 0]
    tau = np.arange(1, 41)
    np.testing.assert_allclose(steps, -np.sign(g) * RATE / np.sqrt(1 - rho**tau), rtol=1e-9)


def test_without_memory_every_step_has_length_rate():
    weight = keras.Variable(0.0)
    optimizer = tfopt.RMSProp(0.5, rho=0.0, epsilon=1e-12)
    for g in (100.0, -1e-4, 1e-4, -7.0):
        before = float(weight)
        optimizer.apply([keras.ops.convert_to_tensor(g)], [weight])
        assert float(weight) - before == pytest.approx(-np.sign(g) * 0.5, rel=1e-5)


def test_a_variance_that_rounds_below_0_does_no_harm(drive):
    # Under constant gradients r − m² tends to 0, from either side once only rounding is left.
    g = np.random.default_rng(8).normal(size=1000)
    run = drive(tfopt.RMSProp(0.01, rho=0.5, centered=True), np.zeros(1000), lambda t, point: g, steps=80)
    assert np.isfinite(run.iterates).all()
    np.testing.assert_array_equal(np.sign(run.iterates[-1]), -np.sign(g))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("rho", 1.0),
        ("rho", -0.1),
        ("epsilon", 0.0),
        ("momentum", 1.0),
        ("momentum", "big"),
        ("nesterov", "yes"),
        ("centered", None),
        ("learning_rate", 0.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.RMSProp, argument, value)


def test_refuses_nesterov_without_momentum(assert_refuses):
    assert_refuses(tfopt.RMSProp, "momentum", 0.0, nesterov=True)
