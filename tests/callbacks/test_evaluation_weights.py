"""EvaluationWeights: what validation and checkpoints see, and that training does not notice."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = (X @ np.array([[1.0], [-2.0], [0.5], [3.0]])).astype("float32")

DISPLACED = {
    "nesterov": lambda: tfopt.Nesterov(0.05),
    "rmsprop": lambda: tfopt.RMSProp(0.02, momentum=0.5, nesterov=True),
    "nadam": lambda: tfopt.NAdam(0.05, form="lookahead"),
    "polyak": lambda: tfopt.PolyakAverage(tfopt.SGD(0.05)),
    "polyak-nesterov": lambda: tfopt.PolyakAverage(tfopt.Nesterov(0.05), decay=0.9),
    "ema": lambda: tfopt.Adam(0.05, use_ema=True, ema_momentum=0.8),
}
EACH = pytest.mark.parametrize("make", DISPLACED.values(), ids=DISPLACED)


def model_with(optimizer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="d")])
    model.compile(optimizer, "mse")
    return model


def fit(model, epochs, *callbacks, **options):
    first = tfopt.callbacks.EvaluationWeights()
    arguments = {"epochs": epochs, "batch_size": 8, "shuffle": False, "verbose": 0} | options
    return model.fit(X, Y, callbacks=[first, *callbacks], **arguments).history


def arrays(model):
    return [w.numpy() for w in model.weights]


def assert_close(left, right, tolerance=1e-6):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@EACH
def test_validation_sees_what_the_end_of_training_leaves(make):
    model = model_with(make())
    history = fit(model, 3, validation_data=(X, Y))
    np.testing.assert_allclose(history["val_loss"][-1], model.evaluate(X, Y, verbose=0), rtol=1e-6)


@EACH
def test_without_it_validation_sees_another_point(make):
    model = model_with(make())
    options = {"epochs": 1, "batch_size": 8, "shuffle": False, "verbose": 0}
    history = model.fit(X, Y, validation_data=(X, Y), **options).history
    assert abs(history["val_loss"][-1] - model.evaluate(X, Y, verbose=0)) > 1e-4


@EACH
def test_training_does_not_notice(make):
    watched, alone = model_with(make()), model_with(make())
    fit(watched, 3, validation_data=(X, Y))
    alone.fit(X, Y, epochs=3, batch_size=8, shuffle=False, verbose=0)
    assert_close(arrays(watched), arrays(alone))


@EACH
def test_checkpoint_holds_the_weights_meant(make, tmp_path):
    model = model_with(make())
    path = tmp_path / "best.weights.h5"
    fit(model, 2, keras.callbacks.ModelCheckpoint(path, save_weights_only=True))
    saved = model_with(make())
    saved.load_weights(path)
    for a, b in zip(arrays(model), arrays(saved), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [m for n, m in DISPLACED.items() if n != "ema"])
def test_second_fit_goes_on_where_the_first_stopped(make):
    twice, once = model_with(make()), model_with(make())
    fit(twice, 2)
    fit(twice, 2)
    fit(once, 4)
    assert_close(arrays(twice), arrays(once))


@pytest.mark.slow
@EACH
def test_interrupted_and_restored_equals_uninterrupted(make, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = lambda: keras.callbacks.BackupAndRestore(tmp_path / "backup")  # noqa: E731
    whole = model_with(make())
    fit(whole, 4, validation_data=(X, Y))
    broken = model_with(make())
    with pytest.raises(KeyboardInterrupt):
        fit(broken, 4, backup(), Stop(), validation_data=(X, Y))
    resumed = model_with(make())
    fit(resumed, 4, backup(), validation_data=(X, Y))
    for a, b in zip(arrays(whole), arrays(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_under_a_loss_scale_optimizer():
    model = model_with(keras.optimizers.LossScaleOptimizer(tfopt.Nesterov(0.05), initial_scale=8.0))
    history = fit(model, 2, validation_data=(X, Y))
    np.testing.assert_allclose(history["val_loss"][-1], model.evaluate(X, Y, verbose=0), rtol=1e-6)


def test_plain_optimizers_are_left_alone():
    watched, alone = model_with(tfopt.Adam(0.05)), model_with(tfopt.Adam(0.05))
    fit(watched, 2, validation_data=(X, Y))
    alone.fit(X, Y, epochs=2, batch_size=8, shuffle=False, verbose=0)
    for a, b in zip(arrays(watched), arrays(alone), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_library_s_optimizer_is_refused():
    with pytest.raises(ValueError, match=r"EvaluationWeights\(optimizer=.*expected an optimizer of tfopt's"):
        fit(model_with(keras.optimizers.Adam()), 1)


def test_weights_loaded_with_their_state_go_on_from_its_training_point(tmp_path):
    path = tmp_path / "two.weights.h5"
    once, again = (model_with(DISPLACED["polyak"]()) for _ in range(2))
    fit(once, 2)
    once.save_weights(path)
    fit(once, 1)
    fit(again, 3)
    again.load_weights(path)
    fit(again, 1)
    assert_close(arrays(again), arrays(once))


SEARCHES = {
    "lbfgs": tfopt.LBFGS,
    "newton-cg": tfopt.NewtonCG,
    "blocks": lambda: tfopt.BlockCoordinateDescent(tfopt.LBFGS()),
}


@pytest.mark.parametrize("make", [*DISPLACED.values(), *SEARCHES.values()], ids=[*DISPLACED, *SEARCHES])
def test_training_goes_on_from_weights_that_were_set(make):
    """As with a new optimizer: the first loss is that of these weights, or of the point just ahead."""
    model = model_with(make())
    fit(model, 4, batch_size=32)
    model.set_weights([w * 0 + 7 for w in model.get_weights()])
    there = model.evaluate(X, Y, verbose=0)
    assert there > 100
    losses = fit(model, 6, batch_size=32)["loss"]
    np.testing.assert_allclose(losses[0], there, rtol=0.05)
    assert losses[-1] < 0.99 * there


@pytest.mark.parametrize("make", [*DISPLACED.values(), *SEARCHES.values()], ids=[*DISPLACED, *SEARCHES])
def test_training_of_a_loaded_model_goes_on_from_weights_that_were_set(make, tmp_path):
    model = model_with(make())
    fit(model, 4, batch_size=32)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for one in (model, loaded):
        one.set_weights([w * 0 + 7 for w in one.get_weights()])
    assert fit(model, 3, batch_size=32) == fit(loaded, 3, batch_size=32)


@EACH
def test_a_checkpoint_restored_goes_on_from_its_training_point(make, tmp_path):
    """Not from what it shows, though the model showed something else before."""
    model = model_with(make())
    fit(model, 2)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    path = checkpoint.save(tmp_path / "c")
    fit(model, 2)
    expected = arrays(model)
    checkpoint.restore(path)
    fit(model, 2)
    assert_close(arrays(model), expected, 0)


def test_the_best_weights_of_an_early_stop_are_where_the_next_training_begins():
    model = model_with(tfopt.PolyakAverage(tfopt.SGD(0.05)))
    fit(model, 2)
    best = arrays(model)

    class Restore(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights(best)

    fit(model, 3, Restore())
    history = fit(model, 1, batch_size=32)
    model.set_weights(best)
    np.testing.assert_allclose(history["loss"][0], model.evaluate(X, Y, verbose=0), rtol=1e-6)


def test_weights_that_were_left_alone_are_no_new_start():
    """Not even if the very same values are set."""
    model, other = (model_with(tfopt.PolyakAverage(tfopt.Nesterov(0.05))) for _ in range(2))
    for one in (model, other):
        fit(one, 2)
    other.set_weights(other.get_weights())
    for one in (model, other):
        fit(one, 2)
    assert_close(arrays(model), arrays(other), 0)
