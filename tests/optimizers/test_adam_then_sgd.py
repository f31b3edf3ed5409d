"""AdamThenSGD: SWATS against its reference, switches found and fixed, what the log says, arguments."""

import itertools
import logging

import numpy as np
import pytest

import tfopt

RATE = np.float64(np.float32(0.01))
SEARCH = dict(beta_1=0.5, beta_2=0.9, tolerance=5e-4)  # on `wavering` the switch is found at update 6


def reference(
    theta,
    gradient,
    beta_1=0.9,
    beta_2=0.999,
    delta=1e-8,
    alpha=None,
    tolerance=1e-9,
    switch=None,
    sgd_rate=None,
    *,
    first=2,
    uncorrected=False,
    undamped=False,
    warm=False,
    by_gradient=False,
):
    """Keskar & Socher, algorithm 1, over all weights as one vector; a rate below 0 makes the switch wait."""
    alpha = beta_1 if alpha is None else alpha
    m, a = np.zeros((2, len(theta)))
    mean, switched, rate = 0.0, 0, None
    for k in itertools.count(1):
        g = gradient(k, theta)
        if switched:
            m = alpha * m + g
            theta = theta - (1 if undamped else 1 - alpha) * rate * m
        else:
            m = beta_1 * m + (1 - beta_1) * g
            a = beta_2 * a + (1 - beta_2) * g**2
            p = -RATE * m / (1 - beta_1**k) / (np.sqrt(a / (1 - beta_2**k)) + delta)
            theta = theta + p
            if p @ g != 0:
                gamma = (-(p @ g) / (g @ g)) if by_gradient else p @ p / -(p @ g)
                mean = beta_2 * mean + (1 - beta_2) * gamma
                estimate = mean if uncorrected else mean / (1 - beta_2**k)
                near = k >= first and abs(estimate - gamma) < tolerance
                if (near if switch is None else k >= switch) and (sgd_rate or estimate) > 0:
                    switched, rate = k, sgd_rate or estimate
                    m = m if warm else np.zeros_like(m)
        yield theta, {"momentum": m, "velocity": a, "mean_rate": mean, "switched_at": switched}


@pytest.fixture(scope="module")
def wavering(start):
    """Gradients of steady direction and wavering size."""
    table = np.random.default_rng(4).normal(size=15)
    table = table * (1 + 0.5 * np.random.default_rng(6).normal(size=(40, 15)))
    return lambda t, point: table[t - 1]


def make(**options):
    return tfopt.AdamThenSGD(0.01, **options)


def test_finds_the_switch_of_the_reference(drive, start, wavering, assert_equal):
    optimizer = make(**SEARCH)
    run = drive(optimizer, start, wavering)
    assert_equal(run, reference(start, wavering, **SEARCH))
    path = list(itertools.islice(reference(start, wavering, **SEARCH), 12))
    assert optimizer.switched_at == path[-1][1]["switched_at"] == 6
    expected = path[5][1]["mean_rate"] / (1 - SEARCH["beta_2"] ** 6)
    assert optimizer.current_sgd_learning_rate == pytest.approx(expected, rel=1e-9)


def test_before_the_switch_there_is_none(drive, start, wavering):
    optimizer = make(**SEARCH)
    assert optimizer.switched_at is None
    drive(optimizer, start, wavering, steps=5)
    assert optimizer.switched_at is None
    assert optimizer.current_sgd_learning_rate is None


OPTIONS = {
    "adam_to_the_end": ({}, {}),
    "fixed": (dict(switch_at=4), dict(switch=4)),
    "fixed_rate": (dict(switch_at=4, sgd_learning_rate=0.125), dict(switch=4, sgd_rate=0.125)),
    "momentum": (dict(switch_at=4, momentum=0.5), dict(switch=4, alpha=0.5)),
    "no_momentum": (dict(switch_at=4, momentum=0.0), dict(switch=4, alpha=0.0)),
    "found_with_own_rate": (
        SEARCH | dict(sgd_learning_rate=0.25),
        SEARCH | dict(sgd_rate=0.25),
    ),
    "betas": (dict(beta_1=0.7, beta_2=0.99, switch_at=3), dict(beta_1=0.7, beta_2=0.99, switch=3)),
    "epsilon": (dict(epsilon=1e-2, switch_at=3), dict(delta=1e-2, switch=3)),
}


@pytest.mark.parametrize(("options", "expected"), OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["wavering", "gradients"])
def test_equals_the_reference(kind, options, expected, request, drive, start, assert_equal):
    source = request.getfixturevalue(kind)
    run = drive(make(**options), start, source)
    assert_equal(run, reference(start, source, **expected))


WRONG = {
    "beta_1": dict(beta_1=0.5001),
    "beta_2": dict(beta_2=0.9001),
    "delta": dict(delta=1e-6),
    "alpha": dict(alpha=0.5001),
    "uncorrected_mean": dict(uncorrected=True),
    "undamped": dict(undamped=True),
    "velocity_kept_from_adam": dict(warm=True),
    "projection_on_the_gradient": dict(by_gradient=True),
    "test_at_the_first_update": dict(first=1),
}


@pytest.fixture(scope="module")
def usual(drive, start, wavering):
    """The run with the default arguments, to hold wrong formulas against."""
    return drive(make(**SEARCH), start, wavering)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_tolerance_sees_a_wrong_formula(wrong, usual, start, wavering, assert_differs):
    assert_differs(usual, reference(start, wavering, **SEARCH | wrong))


BY_HAND = [(0.0, tfopt.SGD(0.125)), (0.5, tfopt.Momentum(0.0625, momentum=0.5))]


@pytest.mark.parametrize(("alpha", "sgd"), BY_HAND, ids=["sgd", "momentum"])
def test_a_fixed_switch_equals_adam_then_sgd_by_hand(alpha, sgd, drive, start, gradients):
    run = drive(make(switch_at=5, sgd_learning_rate=0.125, momentum=alpha), start, gradients)
    by_adam = drive(tfopt.Adam(0.01), start, gradients, steps=5).iterates
    by_sgd = drive(sgd, by_adam[-1], lambda t, point: gradients(t + 5, point), steps=7).iterates
    np.testing.assert_allclose(run.iterates, [*by_adam, *by_sgd], rtol=0, atol=1e-13)


def test_a_fraction_of_the_run(drive, start, gradients):
    optimizer = make(switch_at=0.25, total_steps=20, sgd_learning_rate=0.125)
    run = drive(optimizer, start, gradients)
    twin = drive(make(switch_at=5, sgd_learning_rate=0.125), start, gradients)
    assert optimizer.switched_at == 5
    np.testing.assert_array_equal(run.iterates, twin.iterates)


def test_a_switch_waits_while_its_rate_would_climb(drive):
    # Right after a sign flip Adam still moves along the old direction: against −g, so γ < 0.
    def gradient(t, point):
        return np.array([1.0 if t <= 2 else -1e-3])

    optimizer = make(beta_2=0.5, switch_at=4)
    run = drive(optimizer, np.zeros(1), gradient, steps=60)
    means = np.array([slots["mean_rate"] for slots in run.slots])
    assert means[3] < 0
    assert optimizer.switched_at == 1 + np.flatnonzero((means > 0) & (np.arange(60) >= 3))[0] > 4
    assert optimizer.current_sgd_learning_rate > 0


def test_without_gradient_it_stays(drive):
    optimizer = make()
    run = drive(optimizer, np.ones(3), lambda t, point: np.zeros(3), steps=5)
    np.testing.assert_array_equal(run.iterates, np.ones((5, 3)))
    assert optimizer.switched_at is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(switch_at=5), dict(switch=5)),
        (dict(switch_at=0.5, total_steps=12, momentum=0.0), dict(switch=6, alpha=0.0)),
        (dict(tolerance=4e-4), dict(tolerance=4e-4)),
    ],
    ids=["fixed", "fraction", "found"],
)
def test_fit_equals_the_reference_and_logs_the_switch(options, expected, least_squares, assert_equal, caplog):
    optimizer = make(**options)
    with caplog.at_level(logging.INFO, logger="tfopt"):
        run = least_squares.fit(optimizer)
    assert_equal(run, reference(run.start, least_squares.gradient, **expected))
    [message] = [record.getMessage() for record in caplog.records if record.name == "tfopt"]
    words = message.rstrip(".").replace(",", "").split()
    assert str(optimizer.switched_at) in words
    assert float(words[-1]) == pytest.approx(optimizer.current_sgd_learning_rate, rel=1e-5)


def test_the_log_says_when_there_was_no_switch(least_squares, caplog):
    with caplog.at_level(logging.INFO, logger="tfopt"):
        least_squares.fit(make(), steps=3)
    [message] = [record.getMessage() for record in caplog.records if record.name == "tfopt"]
    assert "no switch" in message


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("beta_1", 1.0),
        ("beta_2", -0.1),
        ("momentum", 1.0),
        ("epsilon", 0.0),
        ("tolerance", 0.0),
        ("switch_at", 0),
        ("switch_at", -3),
        ("switch_at", 1.5),
        ("switch_at", 0.0),
        ("switch_at", "late"),
        ("total_steps", 0),
        ("total_steps", 2.5),
        ("sgd_learning_rate", 0.0),
        ("learning_rate", 0.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.AdamThenSGD, argument, value)


def test_refuses_a_fraction_of_an_unknown_run(assert_refuses):
    assert_refuses(tfopt.AdamThenSGD, "total_steps", None, switch_at=0.5)
