"""Continuation: the value of each stage, the plain loss at the end bit for bit, schedules that get there."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.losses import Blend, ByEpoch, ByPlateau, ByStep, Continuation
from tfopt.losses._progress import Progress

RNG = np.random.default_rng(5)
Y = RNG.normal(size=(12, 3)).astype("float32")
P = RNG.normal(size=(12, 3)).astype("float32")
WEIGHTS = RNG.uniform(size=12).astype("float32")
MSE = keras.losses.MeanSquaredError()


def three():
    return Continuation([Blend("mae", MSE, 0.0), Blend("mae", MSE, 0.5), MSE], [2, 4])


def gradient_of(loss, weights=None):
    predictions = tf.constant(P)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        value = loss(Y, predictions, weights)
    return value, tape.gradient(value, predictions)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_each_stage_is_its_loss(mode, weights):
    loss = three()
    loss.stage = 0
    function, plain = (lambda: gradient_of(loss, weights)), (lambda: gradient_of(MSE, weights))
    if mode != "eager":
        function, plain = (tf.function(f, jit_compile=mode == "jit") for f in (function, plain))
    absolute = np.abs(Y - P).mean(1, dtype="float64")
    square = ((Y - P) ** 2).mean(1, dtype="float64")
    scale = np.ones(12) if weights is None else weights
    for stage, expected in enumerate((absolute, (absolute + square) / 2, square)):
        loss.stage = stage
        assert float(function()[0]) == pytest.approx((expected * scale).mean(), rel=1e-5)
    for got, expected in zip(function(), plain(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0 if mode == "eager" else 1e-6)


def test_settled_it_is_the_last_loss_bit_for_bit_in_every_mode():
    loss = three()
    loss.settle()
    for mode in ("eager", "graph", "jit"):
        both = [lambda f=f: gradient_of(f, WEIGHTS) for f in (loss, MSE)]
        if mode != "eager":
            both = [tf.function(f, jit_compile=mode == "jit") for f in both]
        for got, expected in zip(both[0](), both[1](), strict=True):
            np.testing.assert_array_equal(got, expected)
    loss.stage = 0
    assert float(loss(Y, P)) == pytest.approx(np.abs(Y - P).mean(), rel=1e-6)


def test_second_derivatives_are_those_of_the_stage():
    loss, predictions = three(), tf.constant(P)
    loss.stage = 2

    @tf.function
    def product(loss):
        with tf.GradientTape() as outer:
            outer.watch(predictions)
            with tf.GradientTape() as inner:
                inner.watch(predictions)
                value = loss(Y, predictions)
            slope = tf.reduce_sum(inner.gradient(value, predictions) * Y)
        return outer.gradient(slope, predictions)

    np.testing.assert_allclose(product(loss), 2 * Y / Y.size, rtol=1e-5)


def test_unattended_it_is_the_last_loss_and_says_so_to_who_descends():
    loss = three()
    assert loss.stage == loss.last == 2
    assert float(loss(Y, P)) == float(MSE(Y, P))
    with pytest.warns(UserWarning, match="nothing moves the stages"):
        _, gradient = gradient_of(loss)
    np.testing.assert_array_equal(gradient, gradient_of(MSE)[1])


# -- schedules ----------------------------------------------------------------------------------------


def stages_of(schedule, count, epochs, values=()):
    """The stages of a run, epoch by epoch, with these values in the logs."""
    progress, seen = Progress(), []
    for epoch in range(epochs):
        stage = schedule.stage(progress, epoch, count, epochs)
        if stage != progress.stage:
            progress = Progress(stage)
        seen.append(stage)
        schedule.observe(progress, {"loss": values[epoch]} if values else {})
    return seen


@pytest.mark.parametrize("kind", [ByEpoch, ByStep])
def test_starts(kind):
    assert stages_of(kind([2, 3]), 3, 6) == [0, 0, 1, 2, 2, 2]


def test_a_plateau_ends_a_stage_and_another_objective_begins_anew():
    values = [5.0, 4.0, 4.0, 4.0, 9.0, 8.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]
    assert stages_of(ByPlateau(patience=2), 3, 12, values) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert stages_of(ByPlateau(patience=2, mode="max"), 3, 12, values)[:4] == [0, 0, 0, 1]
    assert stages_of(ByPlateau(patience=2, min_delta=2.0), 3, 12, values)[:4] == [0, 0, 0, 1]


def test_a_stage_without_a_plateau_ends_with_its_share_of_the_epochs():
    falling = list(np.linspace(9, 1, 10))
    assert stages_of(ByPlateau(patience=2), 3, 10, falling) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_nan_is_no_improvement():
    assert stages_of(ByPlateau(patience=1), 2, 8, [1.0, np.nan] + [0.5] * 6)[:3] == [0, 0, 1]


def test_progress_is_saved_and_loaded():
    loss, store = three(), {}
    loss.progress = Progress(1, 0.25, 3)
    loss.save_own_variables(store)
    other = three()
    other.load_own_variables(store)
    assert other.progress == Progress(1, 0.25, 3)
    assert other.stage == 2
    other.load_own_variables({})
    assert other.progress == Progress(1, 0.25, 3)


@pytest.mark.parametrize("schedule", [[3, 5], ByStep([3, 5]), ByPlateau("val_loss", 3, 0.1, "max")])
def test_configuration_round_trip(schedule):
    made = Continuation(["mae", keras.losses.mean_absolute_error, MSE], schedule, name="path")
    again = keras.losses.deserialize(keras.losses.serialize(made))
    assert again.get_config() == made.get_config()
    assert type(again.schedule) is type(made.schedule)
    assert again.schedule.get_config() == made.schedule.get_config()
    for stage in range(3):
        made.stage = again.stage = stage
        assert float(made(Y, P)) == float(again(Y, P))


# -- bad arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "argument", "value", "others"),
    [
        (Continuation, "stages", [], {"schedule": [1]}),
        (Continuation, "stages", ["mse"], {"schedule": [1]}),
        (Continuation, "stages", "mse", {"schedule": [1]}),
        (Continuation, "schedule", 3, {"stages": ["mae", "mse"]}),
        (Continuation, "schedule", None, {"stages": ["mae", "mse"]}),
        (ByEpoch, "starts", [], {}),
        (ByEpoch, "starts", 3, {}),
        (ByEpoch, "starts", [3, 3], {}),
        (ByStep, "starts", [5, 2], {}),
        (ByPlateau, "monitor", None, {}),
        (ByPlateau, "patience", 0, {}),
        (ByPlateau, "min_delta", -1.0, {}),
        (ByPlateau, "mode", "auto", {}),
    ],
)
def test_refuses_bad_arguments(make, argument, value, others):
    with pytest.raises(ValueError) as caught:
        make(**{argument: value}, **others)
    assert str(caught.value).startswith(f"{make.__name__}({argument}={value!r}): expected ")


@pytest.mark.parametrize("starts", [[0, 2], [1.5, 2], [True, 2]])
def test_refuses_starts_that_are_no_positive_integers(starts):
    with pytest.raises(ValueError, match=r"^ByEpoch\(starts=.*expected an integer with starts >= 1"):
        ByEpoch(starts)


@pytest.mark.parametrize("starts", [[3], [1, 2, 3]])
def test_refuses_a_schedule_that_does_not_lead_to_the_last_stage(starts):
    with pytest.raises(
        ValueError, match=r"expected 2 starts for 3 stages.* the last objective is never reached"
    ):
        Continuation(["mae", "mse", "mse"], starts)


@pytest.mark.parametrize("stage", [-1, 3, 1.0])
def test_refuses_a_stage_that_there_is_not(stage):
    with pytest.raises(ValueError, match=r"^Continuation\(stage="):
        three().stage = stage
    assert tfopt.losses.Continuation(["mae", "mse"], [1]).last == 1
