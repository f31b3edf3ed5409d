"""Adam: every placement of δ against its reference, the constant step, Keras as a peer, arguments."""

import itertools

import keras
import numpy as np
import pytest

import tfopt

RATE = np.float64(np.float32(0.01))
MODES = ("outside", "inside", "hat")


def reference(
    theta,
    gradient,
    beta_1=0.9,
    beta_2=0.999,
    delta=1e-8,
    mode="outside",
    amsgrad=False,
    rate=lambda t: RATE,
    *,
    shift=0,
    corrected=(True, True),
):
    s, r, largest = np.zeros((3, len(theta)))
    for t in itertools.count(1):
        g = gradient(t, theta)
        s = beta_1 * s + (1 - beta_1) * g
        r = beta_2 * r + (1 - beta_2) * g**2
        c1 = 1 - beta_1 ** (t + shift) if corrected[0] else 1.0
        c2 = 1 - beta_2 ** (t + shift) if corrected[1] else 1.0
        if mode == "hat":
            largest = np.maximum(largest, r)
            step = rate(t) * np.sqrt(c2) / c1 * s / (np.sqrt(largest if amsgrad else r) + delta)
        else:
            largest = np.maximum(largest, r / c2)
            used = largest if amsgrad else r / c2
            root = np.sqrt(used + delta) if mode == "inside" else np.sqrt(used) + delta
            step = rate(t) * (s / c1) / root
        theta = theta - step
        slots = {"momentum": s, "velocity": r}
        if amsgrad:
            slots["largest_velocity"] = largest
        yield theta, slots


SETTINGS = [
    dict(beta_1=0.5),
    dict(beta_1=0.0),
    dict(beta_2=0.9),
    dict(beta_2=0.0),
    dict(beta_1=0.99, beta_2=0.99999),
    dict(epsilon=1e-2),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_equals_the_reference_with_other_arguments(setting, mode, drive, start, gradients, assert_equal):
    run = drive(tfopt.Adam(0.01, epsilon_mode=mode, **setting), start, gradients)
    expected = {("delta" if key == "epsilon" else key): value for key, value in setting.items()}
    assert_equal(run, reference(start, gradients, mode=mode, **expected))


def test_a_schedule_counts_updates_from_0(drive, start, gradients, assert_equal):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([4], [0.5, 0.0625])
    run = drive(tfopt.Adam(schedule), start, gradients)
    assert_equal(run, reference(start, gradients, rate=lambda t: 0.5 if t <= 5 else 0.0625))


WRONG = {
    "beta_1": dict(beta_1=0.9001),
    "beta_2": dict(beta_2=0.99901),
    "delta": dict(delta=2e-8),
    "off_by_one": dict(shift=1),
    "no_correction_of_s": dict(corrected=(False, True)),
    "no_correction_of_r": dict(corrected=(True, False)),
    "rate": dict(rate=lambda t: RATE * (1 + 1e-5)),
}


@pytest.fixture(scope="module", params=list(itertools.product(MODES, (False, True))), ids=str)
def usual(request, drive, start, gradients):
    """A run for each form and what its reference needs, to hold wrong formulas against."""
    mode, amsgrad = request.param
    run = drive(tfopt.Adam(0.01, epsilon_mode=mode, amsgrad=amsgrad), start, gradients)
    return run, dict(mode=mode, amsgrad=amsgrad)


def test_equals_the_reference(usual, start, gradients, assert_equal):
    run, form = usual
    assert_equal(run, reference(start, gradients, **form))


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    run, form = usual
    assert_differs(run, reference(start, gradients, **form | wrong))


@pytest.mark.parametrize("turn", [1, 2])
def test_the_tolerance_sees_another_placement(turn, usual, start, gradients, assert_differs):
    run, form = usual
    other = MODES[(MODES.index(form["mode"]) + turn) % 3]
    assert_differs(run, reference(start, gradients, **form | dict(mode=other)))


@pytest.mark.parametrize("mode", MODES)
def test_fit_equals_the_reference(mode, least_squares, assert_equal):
    run = least_squares.fit(tfopt.Adam(0.01, epsilon_mode=mode))
    assert_equal(run, reference(run.start, least_squares.gradient, mode=mode))


@pytest.mark.parametrize("amsgrad", [False, True])
def test_hat_equals_keras(amsgrad, drive, drive_keras, start, gradients):
    # Numbers that float32 holds: Keras rounds its hyper-parameters to it.
    options = dict(beta_1=0.875, beta_2=1 - 2.0**-10, epsilon=2.0**-24, amsgrad=amsgrad)
    theirs = drive_keras(keras.optimizers.Adam(0.01, **options), start, gradients)
    ours = drive(tfopt.Adam(0.01, **options, epsilon_mode="hat"), start, gradients).iterates
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


def test_keras_in_fit_from_the_documented_arguments(least_squares):
    ours = least_squares.fit(tfopt.Adam(0.01, epsilon_mode="hat", epsilon=1e-7)).final
    model = least_squares.model(keras.optimizers.Adam(0.01, epsilon=1e-7))
    model.fit(least_squares.batches(), steps_per_epoch=12, shuffle=False, verbose=0)
    np.testing.assert_allclose(ours, least_squares.weights(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("g", [1e-3, -1.0, 50.0])
@pytest.mark.parametrize("mode", MODES)
def test_a_constant_gradient_gives_steps_of_rate_for_every_t(mode, g, drive):
    optimizer = tfopt.Adam(0.01, epsilon=1e-20, epsilon_mode=mode)
    run = drive(optimizer, np.zeros(1), lambda t, point: np.array([g]), steps=60)
    steps = np.diff([run.start, *run.iterates], axis=0)[:, 0]
    np.testing.assert_allclose(steps, -np.sign(g) * RATE, rtol=1e-9)


def test_without_memory_of_gradients_the_first_moment_is_the_gradient():
    weight = keras.Variable(0.0, name="w")
    optimizer = tfopt.Adam(0.5, beta_1=0.0)
    for g in (1e3, 1e-4, -3e-5):
        optimizer.apply([keras.ops.convert_to_tensor(g)], [weight])
        state = dict(optimizer.named_state())
        assert float(state["momentum", "w"]) == pytest.approx(g, rel=1e-5)


def test_without_memory_every_step_has_length_rate():
    weight = keras.Variable(0.0)
    optimizer = tfopt.Adam(0.5, beta_1=0.0, beta_2=0.0, epsilon=1e-12)
    for g in (100.0, -1e-4, 1e-4, -7.0):
        before = float(weight)
        optimizer.apply([keras.ops.convert_to_tensor(g)], [weight])
        assert float(weight) - before == pytest.approx(-np.sign(g) * 0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("beta_1", 1.0),
        ("beta_1", -0.1),
        ("beta_2", 1.0),
        ("beta_2", float("nan")),
        ("epsilon", 0.0),
        ("epsilon_mode", "middle"),
        ("amsgrad", "yes"),
        ("learning_rate", 0.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.Adam, argument, value)
