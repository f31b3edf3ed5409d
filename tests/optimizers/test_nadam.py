"""NAdam: Dozat's form and the look-ahead form against their references, Keras as a peer, arguments."""

import itertools

import keras
import numpy as np
import pytest

import tfopt

RATE = np.float64(np.float32(0.01))


def dozat(theta, gradient, beta_1=0.9, beta_2=0.999, delta=1e-8, *, decay=0.004, shift=0, hat=False, ahead=1):
    """Dozat 2016, algorithm 2, with μ_t = ρ₁(1 − ½·0.96^(0.004 t))."""

    def mu(t):
        return beta_1 * (1 - 0.5 * 0.96 ** (decay * (t + shift)))

    m, n = np.zeros((2, len(theta)))
    product = 1.0
    for t in itertools.count(1):
        g = gradient(t, theta)
        product *= mu(t)
        m = beta_1 * m + (1 - beta_1) * g
        n = beta_2 * n + (1 - beta_2) * g**2
        coming = mu(t + ahead)
        bar = coming * m / (1 - product * coming) + (1 - mu(t)) * g / (1 - product)
        root = np.sqrt(n / (1 - beta_2**t))
        theta = theta - RATE * bar / (root + (delta / np.sqrt(1 - beta_2**t) if hat else delta))
        yield theta, {"momentum": m, "velocity": n, "momentum_product": product}


def lookahead(theta, gradient, beta_1=0.9, beta_2=0.999, delta=1e-8, *, shift=0, ahead=1.0):
    """Adam from θ with the gradient at θ + Δθ, in a real second evaluation."""
    s, r, step = np.zeros((3, len(theta)))
    for t in itertools.count(1):
        g = gradient(t, theta + ahead * step)
        s = beta_1 * s + (1 - beta_1) * g
        r = beta_2 * r + (1 - beta_2) * g**2
        c1, c2 = 1 - beta_1 ** (t + shift), 1 - beta_2 ** (t + shift)
        step = -RATE * (s / c1) / (np.sqrt(r / c2) + delta)
        theta = theta + step
        yield theta, {"momentum": s, "velocity": r, "step": step, "query": theta + ahead * step}


FORMS = {"dozat": dozat, "lookahead": lookahead}
SETTINGS = [{}, dict(beta_1=0.5), dict(beta_1=0.0), dict(beta_2=0.9), dict(epsilon=1e-2)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_equals_the_reference(setting, form, drive, start, gradients, assert_equal):
    run = drive(tfopt.NAdam(0.01, form=form, **setting), start, gradients, shown=True)
    expected = {("delta" if key == "epsilon" else key): value for key, value in setting.items()}
    assert_equal(run, FORMS[form](start, gradients, **expected))


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_loop_where_the_gradient_depends_on_the_point(form, drive, least_squares, assert_equal):
    optimizer = tfopt.NAdam(0.01, form=form)
    run = drive(optimizer, least_squares.theta, least_squares.gradient, steps=25, shown=True)
    assert_equal(run, FORMS[form](run.start, least_squares.gradient))


WRONG = {
    "beta_1": ("dozat", dict(beta_1=0.9001)),
    "beta_2": ("dozat", dict(beta_2=0.99901)),
    "delta": ("dozat", dict(delta=2e-8)),
    "delta_before_correction": ("dozat", dict(hat=True)),
    "schedule_off_by_one": ("dozat", dict(shift=1)),
    "fast_schedule": ("dozat", dict(decay=1.0)),
    "no_schedule": ("dozat", dict(decay=0.0)),
    "momentum_of_this_step": ("dozat", dict(ahead=0)),
    "lookahead_beta_1": ("lookahead", dict(beta_1=0.9001)),
    "lookahead_beta_2": ("lookahead", dict(beta_2=0.99901)),
    "lookahead_off_by_one": ("lookahead", dict(shift=1)),
    "no_lookahead": ("lookahead", dict(ahead=0.0)),
    "lookahead_by_beta_1": ("lookahead", dict(ahead=0.9)),
}


@pytest.fixture(scope="module")
def usual(drive, start, gradients):
    """The run of each form, to hold wrong formulas against."""
    return {form: drive(tfopt.NAdam(0.01, form=form), start, gradients, shown=True) for form in FORMS}


@pytest.mark.parametrize(("form", "wrong"), WRONG.values(), ids=WRONG)
def test_the_tolerance_sees_a_wrong_formula(form, wrong, usual, start, gradients, assert_differs):
    assert_differs(usual[form], FORMS[form](start, gradients, **wrong))


def test_fit_with_dozats_form_equals_the_reference(least_squares, assert_equal):
    run = least_squares.fit(tfopt.NAdam(0.01))
    assert_equal(run, dozat(run.start, least_squares.gradient))


def test_fit_with_the_lookahead_form_equals_the_reference_and_leaves_the_iterate(least_squares):
    run = least_squares.fit(tfopt.NAdam(0.01, form="lookahead"))
    path = list(itertools.islice(lookahead(run.start, least_squares.gradient), 12))
    held = [slots["query"] for _, slots in path]
    np.testing.assert_allclose(run.queries, held, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.final, path[-1][0], rtol=0, atol=1e-12)


def test_keras_is_dozats_form_with_a_schedule_250_times_faster(drive_keras, start, gradients):
    # Numbers that float32 holds: Keras rounds its hyper-parameters to it. Its μ_t is ρ₁(1 − ½·0.96^t).
    options = dict(beta_1=0.875, beta_2=1 - 2.0**-10)
    theirs = drive_keras(keras.optimizers.Nadam(0.01, epsilon=2.0**-40, **options), start, gradients)
    path = itertools.islice(dozat(start, gradients, delta=2.0**-40, decay=1.0, **options), 12)
    np.testing.assert_allclose([theta for theta, _ in path], theirs, rtol=0, atol=1e-8)


def test_dozats_form_equals_keras_where_momentum_is_off(drive, drive_keras, start, gradients):
    options = dict(beta_1=0.0, beta_2=1 - 2.0**-10, epsilon=2.0**-40)
    theirs = drive_keras(keras.optimizers.Nadam(0.01, **options), start, gradients)
    ours = drive(tfopt.NAdam(0.01, **options), start, gradients).iterates
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("form", "other"),
        ("form", None),
        ("beta_1", 1.0),
        ("beta_2", -0.1),
        ("epsilon", 0.0),
        ("learning_rate", 0.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.NAdam, argument, value)
