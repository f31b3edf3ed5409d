"""ContinuationStages in fit: stages in time and in the logs, the true objective in its place, resumption."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.callbacks import ContinuationStages
from tfopt.losses import Blend, ByPlateau, ByStep, Continuation, Curriculum, Temperature

RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = (X @ RNG.normal(size=(4, 3))).argmax(1)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def model_with(loss, optimizer=None, **options):
    keras.utils.set_random_seed(2)
    layers = [keras.layers.Dense(6, "tanh"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer or tfopt.Adam(0.01), loss, **{"jit_compile": False} | options)
    return model


def by_temperature(schedule):
    stages = [Temperature(CROSS_ENTROPY, t) for t in (8.0, 2.0)]
    return Continuation([*stages, CROSS_ENTROPY], schedule)


def train(model, epochs, *callbacks, **options):
    options = {"batch_size": 10, "shuffle": False, "verbose": 0} | options
    return model.fit(X, Y, epochs=epochs, callbacks=[*callbacks], **options).history


def assert_equal(model, other, tolerance=0.0):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


MODES = {
    "graph": {},
    "jit": {"jit_compile": True},
    "eager": {"run_eagerly": True},
    "keras": {"optimizer": "adam"},
}


def by_hand(options, stages, epochs):
    """The stages one after the other, each its own compiled step, with one optimizer."""
    made = model_with(CROSS_ENTROPY, **options)
    for loss, count in zip(stages, epochs, strict=True):
        made.compile(
            made.optimizer,
            loss,
            **{"jit_compile": False} | {k: v for k, v in options.items() if k != "optimizer"},
        )
        train(made, count)
    return made


@pytest.mark.parametrize(
    "options",
    [pytest.param(o, id=mode, marks=[pytest.mark.slow] * (mode != "graph")) for mode, o in MODES.items()],
)
def test_it_is_the_same_as_stages_one_after_the_other_by_hand(options):
    model = model_with(by_temperature([2, 3]), **options)
    history = train(model, 5, ContinuationStages(), validation_data=(X, Y))
    assert history["continuation_stage"] == [0, 0, 1, 2, 2]
    stages = [Temperature(CROSS_ENTROPY, 8.0), Temperature(CROSS_ENTROPY, 2.0), CROSS_ENTROPY]
    expected = by_hand(options, stages, (2, 1, 2))
    assert_equal(model, expected, 1e-6 if "jit_compile" in options else 0.0)
    assert history["val_loss"][-1] == pytest.approx(expected.evaluate(X, Y, verbose=0), rel=1e-6)


def test_validation_is_about_the_last_objective_in_every_stage():
    """With weights that stand still, val_loss is one number and loss is not."""
    model = model_with(by_temperature([1, 2]), tfopt.SGD(1e-12))
    history = train(model, 3, ContinuationStages(), validation_data=(X, Y))
    plain = model_with(CROSS_ENTROPY).evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(history["val_loss"], plain, rtol=1e-5)
    assert history["loss"][2] == pytest.approx(plain, rel=1e-5)
    assert abs(history["loss"][0] - history["loss"][1]) > 1e-2


def test_stages_by_step_begin_within_an_epoch_and_go_on_in_a_further_fit():
    model = model_with(by_temperature(ByStep([3, 6])))
    stages = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: stages.append(model.loss.stage)
    )
    history = train(model, 2, ContinuationStages(), watch)
    assert stages == [0, 0, 0, 1, 1, 1, 2, 2]
    assert history["continuation_stage"] == [1, 2]
    assert train(model, 1, ContinuationStages())["continuation_stage"] == [2]


def test_a_plateau_moves_on():
    model = model_with(by_temperature(ByPlateau("val_loss", patience=2)), tfopt.SGD(1e-12))
    history = train(model, 12, ContinuationStages(), validation_data=(X, Y))
    assert history["continuation_stage"] == [0, 0, 0, 1, 1, 1] + [2] * 6


@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_interrupted_and_resumed_it_ends_at_the_same_weights(first, tmp_path):
    def run(*more):
        model = model_with(by_temperature([2, 4]))
        stages, backup = ContinuationStages(), keras.callbacks.BackupAndRestore(tmp_path / "backup")
        train(model, 6, *([stages, backup] if first else [backup, stages]), *more)
        return model

    def fail(epoch, logs):
        if epoch == 3:
            raise KeyboardInterrupt

    expected = model_with(by_temperature([2, 4]))
    train(expected, 6, ContinuationStages())
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.LambdaCallback(on_epoch_begin=fail))
    assert_equal(run(), expected)


@pytest.mark.slow
def test_a_plateau_under_way_is_resumed(tmp_path):
    """From the weights file alone, by another process so to speak."""
    schedule = lambda: by_temperature(ByPlateau(patience=2))  # noqa: E731
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    model = model_with(schedule(), tfopt.SGD(1e-12))
    train(model, 9, ContinuationStages(), keep)
    other = model_with(schedule(), tfopt.SGD(1e-12))
    other.load_weights(tmp_path / "2.weights.h5")
    assert (other.loss.progress.stage, other.loss.progress.wait) == (0, 1)
    rest = train(other, 9, ContinuationStages(), initial_epoch=2)
    assert model.history.history["continuation_stage"][2:] == rest["continuation_stage"]


@pytest.mark.slow
def test_two_replicas_like_one_device(strategy):
    alone = model_with(by_temperature([1, 2]))
    train(alone, 3, ContinuationStages())
    with strategy.scope():
        model = model_with(by_temperature([1, 2]))
    assert train(model, 3, ContinuationStages())["continuation_stage"] == [0, 1, 2]
    assert_equal(model, alone, 1e-5)


@pytest.mark.slow
def test_several_outputs_and_a_loss_by_name():
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(3, name=name)(inputs) for name in ("a", "b", "c")}
    model = keras.Model(inputs, outputs)
    losses = {
        "a": Continuation(["mae", "mse"], [1], name="first"),
        "b": Continuation(["mae", "mse", "mse"], [1, 2], name="second"),
        "c": "mse",
    }
    model.compile(tfopt.SGD(0.01), losses)
    targets = {name: np.ones((40, 3)) for name in outputs}
    history = model.fit(X, targets, epochs=3, verbose=0, callbacks=[ContinuationStages()]).history
    assert (history["first_stage"], history["second_stage"]) == ([0, 1, 1], [0, 1, 2])


@pytest.mark.slow
def test_a_line_search_starts_anew_with_another_function():
    model = model_with(by_temperature(ByStep([10, 20])), tfopt.LBFGS())
    data = tf.data.Dataset.from_tensors((X, Y)).repeat()
    restarts, optimizer = [], model.optimizer
    restart = optimizer.restart
    optimizer.restart = lambda: (restarts.append(optimizer.train_steps), restart())
    model.fit(data, steps_per_epoch=60, verbose=0, callbacks=[ContinuationStages()])
    assert restarts == [10, 20]
    assert model.evaluate(X, Y, verbose=0) < 1e-2


# -- what it is for -------------------------------------------------------------------------------------


class Weights(keras.layers.Layer):
    """Pairs of weights, whatever the input."""

    def __init__(self, start):
        super().__init__()
        self.w = self.add_weight(shape=start.shape, initializer=keras.initializers.Constant(start))

    def call(self, inputs):
        return self.w[None] + 0.0 * inputs[:, :1, None]


def ripples(y_true, w):
    """J = Σ ¼|w|² − Σ cos 3w of each pair: minima about every 2π/3, the lowest at 0."""
    return tf.reduce_sum(0.25 * w**2 - tf.cos(3.0 * w), axis=(-2, -1))


def bowl(y_true, w):
    """The easy objective, whose minimum is not that of J but lies in its basin."""
    return tf.reduce_sum(0.5 * (w - tf.constant([0.5, -0.4])) ** 2, axis=(-2, -1))


def descend(loss, start, epochs, callbacks=()):
    layer = Weights(start)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(tfopt.SGD(0.05), loss, jit_compile=False)
    data = tf.data.Dataset.from_tensors((np.zeros((1, 1)), np.zeros((1, 1)))).repeat()
    model.fit(data, steps_per_epoch=60, epochs=epochs, verbose=0, callbacks=[*callbacks])
    return layer.w.numpy()


def test_leaves_bad_minima_where_descent_stays():
    """Twenty starts of two weights, each around another bad minimum, in the same fit."""
    rng = np.random.default_rng(0)
    bad = 4.0 * rng.choice([-1.0, 1.0], (20, 2))
    start = (bad + rng.normal(scale=0.2, size=bad.shape)).astype("float32")
    assert np.abs(descend(ripples, start, 5) - bad).max() < 0.3
    stages = [Blend(bowl, ripples, weight) for weight in (0.0, 0.25, 0.5, 0.75)]
    path = Continuation([*stages, ripples], [1, 2, 3, 4])
    np.testing.assert_allclose(descend(path, start, 5, [ContinuationStages()]), 0.0, atol=1e-3)


@pytest.mark.parametrize(
    "stages",
    [
        [Blend("mse", keras.losses.CategoricalCrossentropy(from_logits=True), w) for w in (0.0, 0.5)],
        [Curriculum(keras.losses.CategoricalCrossentropy(from_logits=True), s) for s in (0.4, 0.7)],
    ],
    ids=["blend", "curriculum"],
)
@pytest.mark.slow
def test_a_network_trains_and_ends_on_the_true_objective(stages):
    plain = keras.losses.CategoricalCrossentropy(from_logits=True)
    model = model_with(Continuation([*stages, plain], [5, 10]), tfopt.Adam(0.05))
    labels = np.eye(3)[Y]
    options = dict(batch_size=10, verbose=0, shuffle=False)
    model.fit(X, labels, epochs=30, callbacks=[ContinuationStages()], **options)
    value = float(plain(labels, model.predict(X, verbose=0)))
    assert value < 0.1
    assert model.evaluate(X, labels, verbose=0) == pytest.approx(value, rel=1e-4)


@pytest.mark.slow
def test_the_model_is_saved_loaded_and_goes_on(tmp_path):
    model = model_with(by_temperature([1, 2]))
    train(model, 4, ContinuationStages(), keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"))
    loaded = keras.saving.load_model(tmp_path / "2.keras")
    plain = model_with(CROSS_ENTROPY)
    plain.set_weights(loaded.get_weights())
    assert loaded.evaluate(X, Y, verbose=0) == pytest.approx(plain.evaluate(X, Y, verbose=0), rel=1e-6)
    train(loaded, 4, ContinuationStages(), initial_epoch=2)
    assert_equal(loaded, model)


# -- bad input ------------------------------------------------------------------------------------------


def untouched(model, act):
    before = [np.array(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]
    with pytest.raises(ValueError) as caught:
        act()
    after = [np.array(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    return str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "epochs", "message"),
    [
        ([1, 4], 4, "ByEpoch(starts=[1, 4]): expected starts below the 4 epochs of this fit; otherwise"),
        (ByStep([3, 8]), 2, "ByStep(starts=[3, 8]): expected starts below the 8 train steps of this fit;"),
        (ByPlateau(), 2, "fit(epochs=2): expected at least 3, one for each stage; otherwise"),
    ],
)
def test_refuses_a_run_that_never_reaches_the_last_objective(schedule, epochs, message):
    model = model_with(by_temperature(schedule))
    model.optimizer.build(model.trainable_variables)
    found = untouched(model, lambda: train(model, epochs, ContinuationStages()))
    assert found.startswith(message)
    assert found.endswith("the last objective is never reached.")
    assert model.loss.stage == 2


def test_refuses_a_model_without_a_continuation():
    model = model_with(CROSS_ENTROPY)
    model.optimizer.build(model.trainable_variables)
    message = untouched(model, lambda: train(model, 3, ContinuationStages()))
    assert message.startswith("ContinuationStages(loss=")
    assert message.endswith("expected a tfopt.losses.Continuation among the losses.")


def test_refuses_a_monitor_that_is_not_in_the_logs():
    model = model_with(by_temperature(ByPlateau("val_loss")))
    with pytest.raises(ValueError, match=r"^ByPlateau\(monitor='val_loss'\): expected one of loss\.$"):
        train(model, 3, ContinuationStages())


def test_says_so_where_it_is_forgotten_and_where_a_run_is_cut_short():
    model = model_with(by_temperature([1, 2]))
    with pytest.warns(UserWarning, match=r"add tfopt\.callbacks\.ContinuationStages"):
        train(model, 1)
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", True)
    )
    with pytest.warns(UserWarning, match="stopped in stage 0 of 'continuation', before the last one"):
        history = train(model, 3, ContinuationStages(), stop)
    assert history["continuation_stage"] == [0]
    assert model.loss.stage == 2
