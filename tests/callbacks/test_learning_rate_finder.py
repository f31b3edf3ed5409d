"""The search in one fit: what it sets, what it measures, what it chooses, and that it leaves no trace."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.callbacks import LearningRateFinder


def quadratic(optimizer, curvature=4.0, **compile_args):
    """One weight w, first 1, with loss c w²/2 whatever the data: SGD is stable up to ε = 2/c."""
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    model.compile(optimizer, loss=lambda y, p: curvature / 2 * tf.square(p), **compile_args)
    return model


def search(model, batches=200, **arguments):
    finder = LearningRateFinder(**arguments)
    ones = np.ones((batches, 1), np.float32)
    model.fit(ones, ones, batch_size=1, verbose=0, shuffle=False, callbacks=[finder])
    return finder


def rich_model(optimizer, **compile_args):
    """Everything with a state of its own: dropout seeds, moving statistics, slots."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer, loss="mse", **compile_args)
    return model


def regression(n=96):
    x = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    return x, x @ np.array([1, -2, 0.5, 3], np.float32)


def copies(model):
    return [np.array(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]


def trained_state(model):
    model.fit(*regression(), batch_size=16, epochs=2, verbose=0, shuffle=False)
    return copies(model)


def test_rates_and_losses_against_a_hand_written_loop():
    finder = search(quadratic("sgd"), low=1e-3, high=1.0, steps=40, smoothing=0.0, divergence=1e6)
    w, losses = 1.0, []
    rates = 1e-3 * (1.0 / 1e-3) ** (np.arange(40) / 39)
    for rate in rates:
        losses.append(2 * w**2)
        w -= rate * 4 * w
    np.testing.assert_allclose(finder.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(finder.curve[0], rates, rtol=1e-12)
    np.testing.assert_allclose(finder.curve[1], losses, rtol=1e-4)


@pytest.mark.parametrize("curvature", [4.0, 400.0])
def test_choice_is_high_but_stable(curvature):
    finder = search(quadratic("sgd", curvature), low=1e-6, high=10.0)
    bound = 2 / curvature
    assert bound / 30 < finder.choice < bound


def test_smoothing_does_not_displace_the_minimum():
    """Averaged one way only, the lowest point would lie several points late."""
    finder = LearningRateFinder(low=1e-4, high=1.0, steps=81, smoothing=0.9)
    finder.losses = list(1 + np.abs(np.linspace(-1, 1, 81)))
    assert np.argmin(finder.curve[1]) == pytest.approx(40, abs=1)


@pytest.mark.parametrize("explosion", [1e30, float("nan"), float("inf")])
def test_one_exploding_loss_does_not_move_the_choice(explosion):
    finder = LearningRateFinder(low=1e-4, high=1.0, steps=100)
    quiet = [*np.linspace(3.0, 1.0, 60), *np.linspace(1.0, 2.0, 15)]
    finder.losses = list(quiet)
    before = finder.choice
    finder.losses = [*quiet, explosion]
    assert finder.choice == pytest.approx(before, rel=0.3)


def test_stops_soon_after_divergence():
    model = quadratic("sgd")
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    finder = LearningRateFinder(low=1e-3, high=1e3, steps=100)
    ones = np.ones((100, 1))
    model.fit(ones, ones, batch_size=1, epochs=5, verbose=0, callbacks=[finder, count])
    assert 45 < len(steps) < 65
    assert finder.curve[0][-1] < 10
    assert np.isfinite(finder.curve[1]).all()


OPTIMIZERS = [
    lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    lambda: keras.optimizers.Adam(0.01, use_ema=True),
    lambda: tfopt.Adam(0.01),
    lambda: tfopt.Nesterov(0.01),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["keras_sgd", "keras_adam_ema", "adam", "nesterov"])
def test_training_afterwards_is_training_from_the_start(make):
    expected = trained_state(rich_model(make()))
    model = rich_model(make())
    x, y = regression()
    finder = LearningRateFinder(low=1e-5, high=30.0, steps=30)
    model.fit(x, y, batch_size=16, epochs=6, verbose=0, shuffle=False, callbacks=[finder])
    assert len(finder.losses) > 10
    for seen, wanted in zip(trained_state(model), expected, strict=True):
        np.testing.assert_array_equal(seen, wanted)


def test_in_the_middle_of_a_run_the_slots_come_back():
    model = rich_model(keras.optimizers.Adam(0.01))
    trained_state(model)
    before = copies(model)
    model.fit(*regression(), batch_size=16, epochs=6, verbose=0, callbacks=[LearningRateFinder(steps=20)])
    after = copies(model)
    assert all(np.array_equal(a, b) for a, b in zip(after, before, strict=True))
    assert int(model.optimizer.iterations) == 12


@pytest.mark.parametrize(
    "compile_args",
    [{"jit_compile": False}, {"jit_compile": True}, {"run_eagerly": True}],
    ids=["graph", "jit", "eager"],
)
def test_modes_agree(compile_args):
    curve = search(quadratic("sgd", **compile_args), low=1e-3, steps=30).curve
    reference = search(quadratic("sgd", jit_compile=False), low=1e-3, steps=30).curve
    np.testing.assert_allclose(curve, reference, rtol=1e-4)


def test_steps_per_execution_averages_the_steps_of_a_point():
    finder = search(quadratic("sgd", steps_per_execution=4), low=1e-3, high=0.1, steps=10, smoothing=0.0)
    w, points = 1.0, []
    for rate in np.geomspace(1e-3, 0.1, 10):
        losses = []
        for _ in range(4):
            losses.append(2 * w**2)
            w -= rate * 4 * w
        points.append(np.mean(losses))
    np.testing.assert_allclose(finder.losses, points, rtol=1e-4)


def test_two_replicas_like_one(strategy):
    with strategy.scope():
        model = rich_model(keras.optimizers.Adam(0.01))
    before = model.get_weights()
    finder = LearningRateFinder(steps=20)
    model.fit(*regression(), batch_size=16, epochs=6, verbose=0, callbacks=[finder])
    assert len(finder.losses) >= 10
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert float(model.optimizer.learning_rate.numpy()) == np.float32(0.01)


def test_mixed_precision():
    model = rich_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)))
    before = model.get_weights()
    finder = LearningRateFinder(steps=20)
    model.fit(*regression(), batch_size=16, epochs=6, verbose=0, callbacks=[finder])
    assert 1e-5 < finder.choice < 10
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert float(model.optimizer.learning_rate) == np.float32(0.01)


@pytest.mark.parametrize("apply", [False, True])
def test_apply_sets_the_choice(apply):
    model = quadratic(keras.optimizers.SGD(0.25))
    finder = search(model, low=1e-4, apply=apply)
    expected = finder.choice if apply else 0.25
    assert float(model.optimizer.learning_rate) == pytest.approx(expected, rel=1e-6)
    assert model.get_weights()[0].item() == 1.0


def test_restore_after_an_exception():
    def fail(batch, logs):
        if batch == 5:
            raise KeyboardInterrupt

    model = quadratic("sgd")
    finder = LearningRateFinder(low=0.01)
    ones = np.ones((20, 1))
    failing = keras.callbacks.LambdaCallback(on_train_batch_end=fail)
    with pytest.raises(KeyboardInterrupt):
        model.fit(ones, ones, batch_size=1, verbose=0, callbacks=[finder, failing])
    assert model.get_weights()[0].item() != 1.0
    finder.restore()
    assert model.get_weights()[0].item() == 1.0
    assert int(model.optimizer.iterations) == 0


def test_too_little_data_is_reported():
    with pytest.warns(UserWarning, match="the data ended after 20 of 100 points"):
        search(quadratic("sgd"), batches=20, low=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(quadratic("sgd"), batches=20, low=1e-3, steps=20)


def test_a_search_for_nothing_says_so():
    finder = search(quadratic("sgd"), low=5.0, high=50.0)
    with pytest.raises(ValueError, match=r"choice: expected a loss that falls .*Lower `low` \(5.0\)"):
        finder.choice  # noqa: B018


def test_plot():
    from matplotlib.figure import Figure

    finder = search(quadratic("sgd"), low=1e-4)
    figure = finder.plot()
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    marks = [line.get_xdata() for line in axes.lines]
    assert any(np.allclose(mark, finder.choice) for mark in marks)
    np.testing.assert_array_equal(marks[1], finder.curve[0])


def test_refuses_a_schedule():
    model = quadratic(keras.optimizers.SGD(tfopt.schedules.RobbinsMonro(0.1)))
    with pytest.raises(ValueError, match="constant learning rate; SGD takes its own from a schedule"):
        search(model)


def test_refuses_a_model_without_weights():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="expected a built model"):
        search(model)


@pytest.mark.parametrize("what", ["curve", "choice", "plot", "restore"])
def test_needs_a_fit(what):
    with pytest.raises(ValueError, match=rf"{what if what == 'restore' else 'curve'}: expected a model\.fit"):
        getattr(LearningRateFinder(), what)()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0}, r"LearningRateFinder\(low=0\): expected .*low > 0"),
        ({"low": 1.0, "high": 0.1}, r"high=0.1\): expected high > low \(1.0\)"),
        ({"steps": 5}, r"steps=5\): expected an integer with steps >= 10"),
        ({"smoothing": 1.0}, r"smoothing=1.0\): expected 0 <= smoothing < 1"),
        ({"divergence": -1}, r"divergence=-1"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearningRateFinder(**arguments)
