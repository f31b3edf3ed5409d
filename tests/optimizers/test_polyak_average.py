"""PolyakAverage: the mean of the recorded iterates, who sees it, going on from the iterate, less noise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

INNERS = {
    "sgd": lambda: tfopt.SGD(0.01),
    "adam": lambda: tfopt.Adam(0.01),
    "nesterov": lambda: tfopt.Nesterov(0.01, momentum=0.5),
    "nadam": lambda: tfopt.NAdam(0.01, form="lookahead"),
}
MEANS = [{}, dict(start_step=4), dict(decay=0.75), dict(decay=0.9, start_step=3), dict(decay=0.0)]


def averages(iterates, decay=None, start_step=0, *, late=0, from_zero=False):
    """Mean of what was recorded after `start_step`; before that the last iterate."""
    mean = None
    for t, theta in enumerate(iterates, 1):
        kept = iterates[start_step + late : t]
        if decay is None:
            yield np.mean(kept, axis=0) if len(kept) else theta
        elif len(kept) <= 1:
            mean = (1 - decay) * theta if from_zero else theta
            yield mean
        else:
            mean = decay * mean + (1 - decay) * theta
            yield mean


def reference(inner_run, **mean):
    """What a run around `inner_run` should show: the mean, the inner query point, the inner slots."""
    for t, mean_now in enumerate(averages(inner_run.iterates, **mean)):
        slots = inner_run.slots[t] | {"polyak_average": mean_now, "query": inner_run.queries[t]}
        yield mean_now, slots


@pytest.fixture(scope="module")
def recorded(drive, start, gradients):
    """Runs of the inner optimizers alone."""
    return {name: drive(inner(), start, gradients, shown=True) for name, inner in INNERS.items()}


@pytest.mark.parametrize("mean", MEANS, ids=str)
@pytest.mark.parametrize("inner", INNERS)
def test_equals_the_mean_of_the_recorded_iterates(
    inner, mean, recorded, drive, start, gradients, assert_equal
):
    run = drive(tfopt.PolyakAverage(INNERS[inner](), **mean), start, gradients, shown=True)
    assert_equal(run, reference(recorded[inner], **mean))


@pytest.mark.parametrize("inner", INNERS.values(), ids=INNERS)
def test_equals_the_mean_where_the_gradient_depends_on_the_point(inner, drive, least_squares, assert_equal):
    arguments = (least_squares.theta, least_squares.gradient, 25)
    recorded = drive(inner(), *arguments, shown=True)
    assert_equal(drive(tfopt.PolyakAverage(inner()), *arguments, shown=True), reference(recorded))


@pytest.mark.parametrize(
    ("mean", "wrong"),
    [
        ({}, dict(start_step=1)),
        ({}, dict(decay=0.9)),
        (dict(start_step=4), dict(late=1)),
        (dict(start_step=4), dict(late=-1)),
        (dict(decay=0.9), dict(decay=0.9001)),
        (dict(decay=0.9), dict(from_zero=True)),
        (dict(decay=0.9), dict(start_step=1)),
    ],
    ids=str,
)
def test_the_tolerance_sees_a_wrong_mean(mean, wrong, recorded, drive, start, gradients, assert_differs):
    run = drive(tfopt.PolyakAverage(tfopt.SGD(0.01), **mean), start, gradients, shown=True)
    assert_differs(run, reference(recorded["sgd"], **mean | wrong))


@pytest.mark.parametrize("inner", INNERS.values(), ids=INNERS)
def test_training_goes_on_from_where_it_was(inner, drive, least_squares):
    """Looking at the mean after every update changes no bit of the training."""
    arguments = (least_squares.theta, least_squares.gradient)
    looked = drive(tfopt.PolyakAverage(inner()), *arguments, shown=True)
    alone = drive(tfopt.PolyakAverage(inner()), *arguments)
    np.testing.assert_array_equal(looked.queries, alone.queries)
    assert np.abs(np.subtract(looked.iterates, looked.queries)).max() > 1e-3


@pytest.mark.parametrize("inner", ["adam", "nesterov"])
def test_fit_leaves_the_mean(inner, drive, least_squares):
    recorded = drive(INNERS[inner](), least_squares.theta, least_squares.gradient, shown=True)
    run = least_squares.fit(tfopt.PolyakAverage(INNERS[inner]()))
    np.testing.assert_allclose(run.queries, recorded.queries, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.final, np.mean(recorded.iterates, axis=0), rtol=0, atol=1e-12)
    assert np.abs(run.final - recorded.iterates[-1]).max() > 1e-3


@pytest.mark.parametrize("inner", ["adam", "nesterov"])
def test_validation_sees_the_mean_and_a_second_fit_goes_on(inner, drive, least_squares):
    arguments = (least_squares.theta, least_squares.gradient)
    recorded = drive(INNERS[inner](), *arguments, shown=True)
    model = least_squares.model(tfopt.PolyakAverage(INNERS[inner]()))
    losses = []
    for epochs in (2, 1):
        history = model.fit(
            least_squares.batches(),
            epochs=epochs,
            steps_per_epoch=4,
            shuffle=False,
            verbose=0,
            validation_data=least_squares.batches().take(1),
            callbacks=[tfopt.callbacks.EvaluationWeights()],
        )
        losses += history.history["val_loss"]
    means = list(averages(recorded.iterates))
    np.testing.assert_allclose(losses, [least_squares.loss(means[t - 1]) for t in (4, 8, 12)], rtol=1e-6)
    np.testing.assert_allclose(least_squares.weights(model), means[-1], rtol=0, atol=1e-12)


def test_evaluation_after_fit_sees_the_mean(least_squares):
    run = least_squares.fit(tfopt.PolyakAverage(tfopt.SGD(0.05)))
    seen = run.model.evaluate(least_squares.batches(), steps=1, verbose=0)
    assert seen == pytest.approx(least_squares.loss(np.mean(run.queries, axis=0)), rel=1e-6)


def test_the_mean_around_a_minimum_is_less_noisy_than_the_iterate(simulate):
    """At rate ε the iterate's variance is ε/(h(2 − εh)) for ever, the mean's about 1/(h²n) and falling."""
    seeds, steps, rate, h = 400, 1000, 0.1, 1.0
    optimizer = tfopt.PolyakAverage(tfopt.SGD(rate))
    variable = keras.Variable(np.zeros((seeds,)), dtype="float64")

    def gradient(k, w):
        return h * w + tf.random.stateless_normal((seeds,), seed=tf.stack([k, 23]), dtype=tf.float64)

    iterates = simulate(optimizer, variable, gradient, steps)
    optimizer.to_evaluation_weights()
    mean = variable.numpy()
    np.testing.assert_allclose(mean, iterates.mean(axis=0), rtol=1e-9)
    assert np.mean(iterates[-1] ** 2) == pytest.approx(rate / (h * (2 - rate * h)), rel=0.25)
    assert np.mean(mean**2) == pytest.approx(1 / (h**2 * steps), rel=0.25)


@pytest.mark.parametrize(
    ("argument", "value"), [("decay", 1.0), ("decay", -0.1), ("decay", "slow"), ("start_step", -1)]
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    assert_refuses(tfopt.PolyakAverage, argument, value, inner=tfopt.SGD())


@pytest.mark.parametrize("value", [1.5, True, None])
def test_refuses_a_start_that_is_no_count(value, assert_refuses):
    assert_refuses(tfopt.PolyakAverage, "start_step", value, inner=tfopt.SGD())


@pytest.mark.parametrize("inner", ["adam", None, keras.optimizers.SGD(), tfopt.SGD])
def test_refuses_an_inner_that_is_no_tfopt_optimizer(inner, assert_refuses):
    assert_refuses(tfopt.PolyakAverage, "inner", inner)


def test_refuses_an_inner_with_a_past_or_an_average_of_its_own(assert_refuses):
    built = tfopt.SGD()
    built.build([keras.Variable(0.0)])
    assert_refuses(tfopt.PolyakAverage, "inner", built)
    assert_refuses(tfopt.PolyakAverage, "inner", tfopt.SGD(use_ema=True))


@pytest.mark.parametrize("option", [dict(clipnorm=1.0), dict(learning_rate=0.1)], ids=str)
def test_refuses_options_that_belong_to_the_inner(option, assert_refuses):
    [(argument, value)] = option.items()
    assert_refuses(tfopt.PolyakAverage, argument, value, inner=tfopt.SGD())
