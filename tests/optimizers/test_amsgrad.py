"""AMSGrad: both variants, the step that never grows, and the problems on which Adam fails."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

RATE = np.float64(np.float32(0.01))
VARIANTS = ("reddi", "recursive")


def reference(
    theta, gradient, variant, beta_1=0.9, beta_2=0.999, delta=1e-8, *, shift=0, late=False, forget=False
):
    """On bias-corrected moments: r/(1−ρ₂ᵗ) obeys a recursion with weight w_t for the newest g²."""
    s, r, largest = np.zeros((3, len(theta)))
    for t in itertools.count(1):
        g = gradient(t, theta)
        c1, c2 = 1 - beta_1 ** (t + shift), 1 - beta_2 ** (t + shift)
        s = beta_1 * s + (1 - beta_1) * g
        r = beta_2 * r + (1 - beta_2) * g**2
        if variant == "reddi":
            largest = r / c2 if forget else np.maximum(largest, r if late else r / c2)
        else:
            w = (1 - beta_2) / (1 if late else c2)
            mean = (1 - w) * largest + w * g**2
            largest = mean if forget else np.maximum(mean, largest)
        theta = theta - RATE * (s / c1) / (np.sqrt(largest / c2 if late else largest) + delta)
        slots = {"momentum": s, "largest_velocity": largest}
        yield theta, slots | ({"velocity": r} if variant == "reddi" else {})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "setting", [{}, dict(beta_1=0.0), dict(beta_2=0.9), dict(beta_2=0.5), dict(epsilon=1e-2)], ids=str
)
def test_equals_the_reference(setting, variant, drive, start, gradients, assert_equal):
    run = drive(tfopt.AMSGrad(0.01, variant=variant, **setting), start, gradients)
    expected = {("delta" if key == "epsilon" else key): value for key, value in setting.items()}
    assert_equal(run, reference(start, gradients, variant, **expected))


WRONG = {
    "beta_1": dict(beta_1=0.9001),
    "beta_2": dict(beta_2=0.99901),
    "delta": dict(delta=2e-8),
    "off_by_one": dict(shift=1),
    "correction_after_the_maximum": dict(late=True),
    "no_maximum": dict(forget=True),
}


@pytest.fixture(scope="module", params=VARIANTS)
def usual(request, drive, start, gradients):
    """The run of each variant, to hold wrong formulas against."""
    return drive(tfopt.AMSGrad(0.01, variant=request.param), start, gradients), request.param


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, gradients, assert_differs):
    run, variant = usual
    assert_differs(run, reference(start, gradients, variant, **wrong))


def test_the_tolerance_sees_the_other_variant(usual, start, gradients):
    run, variant = usual
    other = VARIANTS[1 - VARIANTS.index(variant)]
    path = [theta for theta, _ in itertools.islice(reference(start, gradients, other), 12)]
    assert np.abs(np.subtract(run.iterates, path)).max() > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_fit_equals_the_reference(variant, least_squares, assert_equal):
    run = least_squares.fit(tfopt.AMSGrad(0.01, variant=variant))
    assert_equal(run, reference(run.start, least_squares.gradient, variant))


def test_reddi_equals_adam_with_amsgrad(drive, start, gradients):
    run = drive(tfopt.AMSGrad(0.01), start, gradients)
    twin = drive(tfopt.Adam(0.01, amsgrad=True), start, gradients)
    np.testing.assert_array_equal(run.iterates, twin.iterates)


def effective_rates(drive, optimizer, start, gradients):
    """|Δθ/g| of each update; with ρ₁ = 0 that is ε/(√r̂ + δ)."""
    run = drive(optimizer, start, gradients)
    steps = np.abs(np.diff([run.start, *run.iterates], axis=0))
    given = np.abs([gradients(t, None) for t in range(1, 13)])
    always = (given > 0).all(axis=0)
    return steps[:, always] / given[:, always]


@pytest.mark.parametrize("beta_2", [0.999, 0.5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_effective_step_never_grows(variant, beta_2, drive, start, gradients):
    optimizer = tfopt.AMSGrad(0.01, beta_1=0.0, beta_2=beta_2, variant=variant)
    rates = effective_rates(drive, optimizer, start, gradients)
    assert np.all(rates[1:] <= rates[:-1] + 1e-10)
    assert np.any(rates[-1] < 0.1 * rates[0])


def test_the_effective_step_of_adam_does_grow(drive, start, gradients):
    rates = effective_rates(drive, tfopt.Adam(0.01, beta_1=0.0, beta_2=0.5), start, gradients)
    assert np.any(rates[1:] > 1.3 * rates[:-1])


@keras.saving.register_keras_serializable(package="tests")
class InverseRoot(keras.optimizers.schedules.LearningRateSchedule):
    """ε/√t, the rate of the paper's online setting."""

    def __init__(self, initial):
        self.initial = initial

    def __call__(self, step):
        return self.initial / tf.sqrt(tf.cast(step, tf.float64) + 1.0)

    def get_config(self):
        return {"initial": self.initial}


def play(simulate, optimizer, slopes):
    """Points of an online game f_t(x) = slopes_t·x on x ∈ [−1, 1], started at 0, one column per game."""
    table = tf.constant(slopes, tf.float64)
    x = keras.Variable(np.zeros(table.shape[1]), dtype="float64")
    x.constraint = lambda w: tf.clip_by_value(w, -1.0, 1.0)
    return simulate(optimizer, x, lambda k, w: table[k], len(slopes))


C = 4.0
CONTENDERS = {
    "adam": (lambda **options: tfopt.Adam(**options), +1),
    "reddi": (lambda **options: tfopt.AMSGrad(variant="reddi", **options), -1),
    "recursive": (lambda **options: tfopt.AMSGrad(variant="recursive", **options), -1),
}


@pytest.mark.parametrize(("make", "end"), CONTENDERS.values(), ids=CONTENDERS)
def test_the_periodic_counter_example(make, end, simulate):
    # f_t = Cx every third step, −x otherwise: x = −1 is best. Reddi et al., theorem 1.
    steps = 3000
    slopes = np.where(np.arange(steps) % 3 == 0, C, -1.0)[:, None]
    optimizer = make(learning_rate=InverseRoot(0.5), beta_1=0.0, beta_2=1 / (1 + C**2))
    x = play(simulate, optimizer, slopes)
    regret = np.mean(slopes * (x + 1))
    assert np.all(np.abs(x) <= 1)
    assert np.mean(x[-300:]) == pytest.approx(end, abs=0.05)
    assert regret > 0.5 if end > 0 else regret < 0.2


@pytest.mark.parametrize(("make", "end"), CONTENDERS.values(), ids=CONTENDERS)
def test_the_stochastic_counter_example(make, end, simulate):
    # f_t = Cx with probability p, −x otherwise, E f_t = x/2: x = −1 is best. Reddi et al., theorem 3.
    games, steps, c = 40, 4000, 5.0
    p = 1.5 / (c + 1)
    slopes = np.where(np.random.default_rng(9).random((steps, games)) < p, c, -1.0)
    optimizer = make(learning_rate=InverseRoot(0.25), beta_1=0.0, beta_2=0.1)
    x = play(simulate, optimizer, slopes)
    assert np.mean(x[-300:]) == pytest.approx(end, abs=0.2)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("variant", "other"),
        ("variant", None),
        ("beta_1", 1.0),
        ("beta_2", -0.1),
        ("epsilon", 0.0),
        ("learning_rate", 0.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.AMSGrad, argument, value)
