"""GreedyPretraining: each stage as coded by hand, one fit, resumption, the model as it was, bad input."""

import importlib
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.callbacks import EvaluationWeights, GreedyPretraining

RNG = np.random.default_rng(7)
X = RNG.normal(size=(48, 5)).astype("float32")
Y = (X @ RNG.normal(size=(5, 3))).argmax(1)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
WIDTHS = (6, 5, 4)


def layers_of(widths=WIDTHS, **options):
    hidden = [keras.layers.Dense(w, "tanh", name=f"hidden_{i}", **options) for i, w in enumerate(widths, 1)]
    return [*hidden, keras.layers.Dense(3, name="head")]


def model_with(optimizer=None, widths=WIDTHS, layers=None, **options):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((5,)), *(layers or layers_of(widths))])
    optimizer = tfopt.Adam(0.01) if optimizer is None else optimizer
    model.compile(optimizer, CROSS_ENTROPY, **{"jit_compile": False} | options)
    return model


def train(model, epochs, *callbacks, **options):
    options = {"batch_size": 12, "shuffle": False, "verbose": 0} | options
    return model.fit(X, Y, epochs=epochs, callbacks=[*callbacks], **options).history


def weights_of(model):
    return [np.array(v.numpy()) for v in model.variables]


def assert_equal(model, other, tolerance=0.0):
    for a, b in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def head_like(seed):
    """Heads with weights of their own that two runs can agree on."""
    counter = iter(range(seed, 1000))

    def head(hidden):
        start = keras.initializers.GlorotUniform(seed=next(counter))
        return keras.layers.Dense(3, kernel_initializer=start)(hidden)

    return head


def by_hand(make, epochs, freeze, finetune, seed=40, **options):
    """The stages, each a model of its own with an optimizer of its own; then all together."""
    model = model_with(make(), **options)
    hidden, head = model.layers[:-1], head_like(seed)
    histories = []
    for number in range(1, len(hidden) + 1):
        for layer in hidden[: number - 1]:
            layer.trainable = not freeze
        inputs = keras.Input((5,))
        x = inputs
        for layer in hidden[:number]:
            x = layer(x)
        outputs = model.layers[-1](x) if number == len(hidden) else head(x)
        stage = keras.Model(inputs, outputs)
        stage.compile(make(), CROSS_ENTROPY, **{"jit_compile": False} | options)
        histories.append(train(stage, epochs, validation_data=(X, Y)))
    for layer in hidden:
        layer.trainable = True
    if finetune:
        model.compile(make(), CROSS_ENTROPY, **{"jit_compile": False} | options)
        histories.append(train(model, finetune, validation_data=(X, Y)))
    return model, histories


OPTIMIZERS = {
    "sgd": lambda: tfopt.SGD(0.1),
    "adam": lambda: tfopt.Adam(0.01, weight_decay=0.1, weight_decay_exclude=["bias"]),
    "nesterov": lambda: tfopt.Nesterov(0.05),
    "average": lambda: tfopt.PolyakAverage(tfopt.SGD(0.1)),
    "ema": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5),
    "schedule": lambda: tfopt.Momentum(tfopt.schedules.LinearDecay(0.1, 8)),
    "blocks": lambda: tfopt.BlockCoordinateDescent(tfopt.SGD(0.1)),
    "swats": lambda: tfopt.AdamThenSGD(0.01, switch_at=3),
    "keras": lambda: keras.optimizers.RMSprop(0.01),
    "lbfgs": lambda: tfopt.LBFGS(),
    "newton-cg": lambda: tfopt.NewtonCG(),
}


def assert_same_as_by_hand(make, freeze=True, tolerance=0.0, **options):
    expected, histories = by_hand(make, 2, freeze, 2, **options)
    model = model_with(make(), **options)
    greedy = GreedyPretraining(2, freeze=freeze, head=head_like(40))
    history = train(model, 8, greedy, validation_data=(X, Y))
    assert_equal(model, expected, tolerance)
    assert history["stage"] == [1, 1, 2, 2, 3, 3, 4, 4]
    for name in ("loss", "val_loss"):
        values = [value for part in histories for value in part[name]]
        np.testing.assert_allclose(history[name], values, rtol=1e-5, atol=tolerance)
    return model


@pytest.mark.parametrize("freeze", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_stage_by_stage_it_is_what_is_coded_by_hand(freeze):
    model = assert_same_as_by_hand(OPTIMIZERS["adam"], freeze)
    start = model_with()
    assert all((a != b).any() for a, b in zip(weights_of(model), weights_of(start), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_works_as_by_hand(name):
    # TensorFlow arranges the Hessian's products anew in each graph, which shows in their last digit.
    assert_same_as_by_hand(OPTIMIZERS[name], tolerance=1e-6 if name == "newton-cg" else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"jit_compile": True}, 1e-6),
        ({"run_eagerly": True}, 0.0),
        ({"steps_per_execution": 2}, 1e-6),
    ],
    ids=["jit", "eager", "two steps per execution"],
)
def test_every_mode_works_as_by_hand(options, tolerance):
    assert_same_as_by_hand(OPTIMIZERS["adam"], tolerance=tolerance, **options)


@pytest.mark.slow
def test_jit():
    """Frozen blocks stay and the others move, compiled."""
    model = model_with(jit_compile=True, widths=(6, 5))
    seen = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(weights_of(model)))
    train(model, 3, GreedyPretraining(1), note)
    moved = [[(a != b).any() for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(seen)]
    assert moved == [[False, False, True, True, True, True], [True] * 6]


@pytest.mark.slow
def test_two_replicas_like_one_device(strategy):
    alone = model_with(widths=(6, 5))
    train(alone, 3, GreedyPretraining(1, head=head_like(40)))
    with strategy.scope():
        model = model_with(widths=(6, 5))
    train(model, 3, GreedyPretraining(1, head=head_like(40)))
    assert_equal(model, alone, 1e-5)
    for variable in model.trainable_variables:
        first, second = (np.asarray(v) for v in strategy.experimental_local_results(variable.value))
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, tmp_path):
    model = model_with(layers=layers_of((6, 5), dtype=policy))
    model.compile(tfopt.Adam(0.01), CROSS_ENTROPY, jit_compile=False)
    if policy == "mixed_float16":
        model.compile(keras.optimizers.LossScaleOptimizer(tfopt.Adam(0.01)), CROSS_ENTROPY, jit_compile=False)
    optimizer = model.optimizer
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    history = train(model, 8, GreedyPretraining(2), checkpoint)
    assert np.isfinite(history["loss"]).all()
    assert model.optimizer is optimizer
    loaded = keras.saving.load_model(tmp_path / "1.keras")
    assert type(loaded.optimizer) is type(optimizer)


# -- the model meanwhile and afterwards -------------------------------------------------------------------


class Spy(keras.callbacks.Callback):
    """What other callbacks see in each epoch."""

    def __init__(self):
        super().__init__()
        self.optimizers, self.trainable, self.evaluated, self.predicted, self.layers = [], [], [], [], []

    def on_epoch_end(self, epoch, logs=None):
        model = self.model
        self.optimizers.append(model.optimizer)
        self.trainable.append([layer.trainable for layer in model.layers])
        self.evaluated.append(model.evaluate(X, Y, verbose=0))
        scores = model.predict(X, verbose=0)
        self.predicted.append(float(CROSS_ENTROPY(Y, scores)))
        self.layers.append([layer.name for layer in model.layers])


@pytest.mark.slow
def test_other_callbacks_see_the_stage_and_the_whole_model():
    model, spy = model_with(tfopt.Adam(0.01)), Spy()
    mine, before = model.optimizer, dict(vars(model))
    history = train(model, 7, GreedyPretraining(2), spy, validation_data=(X, Y))
    np.testing.assert_allclose(spy.evaluated, history["val_loss"], rtol=1e-5)
    np.testing.assert_allclose(spy.predicted, history["val_loss"], rtol=1e-5)
    assert [len(set(map(id, spy.optimizers[a:b]))) for a, b in ((0, 2), (2, 4), (4, 6), (0, 7))] == [
        1,
        1,
        1,
        4,
    ]
    assert spy.optimizers[-1] is mine is model.optimizer
    assert mine.train_steps == 4
    assert all(all(flags) for flags in spy.trainable)
    assert spy.layers == [["hidden_1", "hidden_2", "hidden_3", "head"]] * 7
    assert vars(model).keys() - before.keys() <= {"history", "stop_evaluating", "stop_predicting"}
    assert spy.evaluated[-1] == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-6)


def test_learning_rates_set_by_callbacks_hold_in_the_stage():
    model = model_with(tfopt.SGD(0.1))
    before = weights_of(model)
    still = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-30 if epoch < 3 else rate)
    train(model, 3, GreedyPretraining(1, finetune=False), still)
    for a, b in zip(weights_of(model), before, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


@pytest.mark.slow
def test_without_fine_tuning_training_ends_with_the_last_stage():
    model, expected = model_with(), by_hand(lambda: tfopt.Adam(0.01), 2, True, 0)[0]
    history = train(model, 50, GreedyPretraining(2, finetune=False, head=head_like(40)))
    assert history["stage"] == [1, 1, 2, 2, 3, 3]
    assert_equal(model, expected)


def test_epochs_of_each_stage():
    history = train(model_with(), 8, GreedyPretraining([1, 3, 2]))
    assert history["stage"] == [1, 2, 2, 2, 3, 3, 4, 4]


@pytest.mark.slow
def test_a_stage_ends_when_it_gets_no_better():
    model = model_with(tfopt.SGD(1e-12))
    stop = keras.callbacks.EarlyStopping("loss", patience=2)
    history = train(model, 16, GreedyPretraining(stop))
    assert history["stage"] == [1, 1, 1, 2, 2, 2, 3, 3, 3] + [4] * 7
    improving = train(model_with(tfopt.Adam(1e-3)), 9, GreedyPretraining(stop))
    assert improving["stage"] == [1, 1, 2, 2, 3, 3, 4, 4, 4]  # an equal share at the latest


def test_the_best_weights_of_a_stage_are_restored():
    """Of a stage whose loss only grows: those of its first epoch."""
    spoiled, kept = model_with(tfopt.SGD(30.0)), []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(weights_of(spoiled)))
    stop = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True, mode="min")
    losses = iter([1.0, 2.0, 1.0, 2.0, 1.0, 2.0])
    rig = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(loss=next(losses)))
    history = train(spoiled, 6, rig, GreedyPretraining(stop, finetune=False), keep)
    assert history["stage"] == [1, 1, 2, 2, 3, 3]
    np.testing.assert_array_equal(kept[2][0], kept[0][0])  # the first kernel, frozen after its stage
    np.testing.assert_array_equal(spoiled.get_weights()[4], kept[4][4])


@pytest.mark.parametrize("optimizer", ["nesterov", pytest.param("average", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_weights_of_a_look_ahead_or_an_average(optimizer):
    model, spy = model_with(OPTIMIZERS[optimizer]()), Spy()
    history = train(model, 4, GreedyPretraining(1), EvaluationWeights(), spy, validation_data=(X, Y))
    np.testing.assert_allclose(spy.predicted, history["val_loss"], rtol=1e-5)


def test_progress_bar_names_the_stage(capsys):
    train(model_with(widths=(4, 4)), 3, GreedyPretraining(1), verbose=2)
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith(("Stage", "Epoch"))]
    assert lines == [
        "Stage 1/3: hidden_1",
        "Epoch 1/3",
        "Stage 2/3: hidden_2",
        "Epoch 2/3",
        "Stage 3/3: fine-tuning",
        "Epoch 3/3",
    ]
    assert "stage: 2.0" in printed
    train(model_with(widths=(4, 4)), 3, GreedyPretraining(1))
    assert capsys.readouterr().out == ""


def test_early_stopping_and_tensorboard_of_the_whole_run(tmp_path, monkeypatch):
    """What Keras' callback writes for TensorBoard, whether that is installed or not."""
    written = []
    summary = importlib.import_module("tensorflow.summary")
    monkeypatch.setattr(summary, "scalar", lambda name, value, step: written.append((name, value, step)))
    stop = keras.callbacks.EarlyStopping("loss", patience=1, start_from_epoch=3)
    board = keras.callbacks.TensorBoard(tmp_path)
    model = model_with(tfopt.SGD(1e-12))
    history = train(model, 20, GreedyPretraining(1), stop, board, validation_data=(X, Y))
    assert history["stage"] == [1, 2, 3, 4, 4]
    stages = [(value, step) for name, value, step in written if name == "epoch_stage"]
    assert stages == [(1, 0), (2, 1), (3, 2), (4, 3), (4, 4)]


def test_a_run_that_ends_early_says_so_and_leaves_the_model_whole():
    model = model_with()
    mine = model.optimizer
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1)
    )
    with pytest.warns(UserWarning, match=r"fit ended in stage 2 of 4 \(hidden_2\)"):
        train(model, 9, GreedyPretraining(1), stop)
    assert model.optimizer is mine
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(float(CROSS_ENTROPY(Y, model(X))), rel=1e-6)


# -- saving and resuming ----------------------------------------------------------------------------------


def fail_at(epoch, batch=None):
    def fail(now, logs):
        state["epoch"] = now
        if batch is None and now == epoch:
            raise KeyboardInterrupt

    def fail_within(now, logs):
        if state["epoch"] == epoch and now == batch:
            raise KeyboardInterrupt

    state = {}
    within = {} if batch is None else {"on_train_batch_begin": fail_within}
    return keras.callbacks.LambdaCallback(on_epoch_begin=fail, **within)


def interrupted(tmp_path, failing, make_model, make_greedy, epochs=9, first=True):
    def run(*more):
        model = make_model()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        greedy = make_greedy()
        train(model, epochs, *([greedy, backup] if first else [backup, greedy]), *more)
        return model

    with pytest.raises(KeyboardInterrupt):
        run(failing)
    return run()


@pytest.mark.parametrize(
    ("failing", "first"),
    [
        pytest.param((1, 2), True, id="in a stage"),
        pytest.param((4,), True, id="between stages", marks=pytest.mark.slow),
        pytest.param((3,), False, id="in a stage, backup first", marks=pytest.mark.slow),
        pytest.param((8,), True, id="in the fine-tuning", marks=pytest.mark.slow),
    ],
)
def test_interrupted_and_resumed_it_ends_at_the_same_weights(failing, first, tmp_path):
    def make():
        keras.utils.set_random_seed(5)
        hidden = [keras.layers.Dense(width, "tanh") for width in (6, 4)]
        hidden.insert(1, keras.layers.Dropout(0.2, seed=1))
        return model_with(layers=[*hidden, keras.layers.BatchNormalization(), keras.layers.Dense(3)])

    expected = make()
    train(expected, 9, GreedyPretraining([4, 3]))
    resumed = interrupted(tmp_path, fail_at(*failing), make, lambda: GreedyPretraining([4, 3]), first=first)
    assert_equal(resumed, expected)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["nesterov", "average", "ema", "schedule", "lbfgs", "swats"])
def test_resumed_with_every_kind_of_optimizer(optimizer, tmp_path):
    make = lambda: model_with(OPTIMIZERS[optimizer]())  # noqa: E731
    expected = make()
    train(expected, 9, GreedyPretraining(2))
    assert_equal(interrupted(tmp_path, fail_at(3), make, lambda: GreedyPretraining(2)), expected)


@pytest.mark.slow
def test_resumed_in_the_midst_of_waiting_for_a_stage_to_get_better(tmp_path):
    def greedy():
        return GreedyPretraining(keras.callbacks.EarlyStopping("loss", 0.3, 2, restore_best_weights=True))

    expected = model_with()
    stages = train(expected, 12, greedy())["stage"]
    assert stages[:3] == [1, 1, 1]
    resumed = interrupted(tmp_path, fail_at(2), model_with, greedy, epochs=12)
    assert_equal(resumed, expected)
    assert resumed.history.history["stage"] == stages[2:]


@pytest.mark.slow
def test_checkpoints_of_every_stage_hold_the_whole_model(tmp_path):
    model = model_with()
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    kept = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(weights_of(model)))
    train(model, 4, GreedyPretraining(1), checkpoint, keep)
    for epoch, weights in enumerate(kept, 1):
        loaded = keras.saving.load_model(tmp_path / f"{epoch}.keras")
        for a, b in zip(weights_of(loaded), weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert all(layer.trainable for layer in loaded.layers)
        assert loaded.optimizer.train_steps == (4 if epoch == 4 else 0)
        train(loaded, 1)


def test_begun_at_a_later_epoch_it_is_in_that_epochs_stage():
    assert train(model_with(), 8, GreedyPretraining(2), initial_epoch=3)["stage"] == [2, 3, 3, 4, 4]


@pytest.mark.slow
def test_after_an_exception_the_model_is_restored_or_the_next_fit_does_it():
    for by_next_fit in (False, True):
        model, greedy = model_with(), GreedyPretraining(2)
        mine, expected = model.optimizer, vars(model).keys()
        with pytest.raises(KeyboardInterrupt):
            train(model, 8, greedy, fail_at(3))
        assert model.optimizer is not mine
        if by_next_fit:
            assert train(model, 8, GreedyPretraining(2))["stage"] == [1, 1, 2, 2, 3, 3, 4, 4]
        else:
            greedy.restore()
        assert model.optimizer is mine
        assert vars(model).keys() - expected <= {"history"}
        assert model.evaluate(X, Y, verbose=0) == pytest.approx(float(CROSS_ENTROPY(Y, model(X))), rel=1e-6)


# -- models -----------------------------------------------------------------------------------------------


def test_the_users_own_train_step_and_loss_work_on_the_stage():
    class Own(keras.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.seen = keras.metrics.Mean(name="seen")

        def train_step(self, data):
            assert isinstance(self, Own)
            self.seen.update_state(float(len(self.trainable_weights)))
            return super().train_step(data)

        def compute_loss(self, *args, **kwargs):
            return 2.0 * super().compute_loss(*args, **kwargs)

    def built(kind):
        keras.utils.set_random_seed(2)
        x = inputs = keras.Input((5,))
        for layer in layers_of((6, 5)):
            x = layer(x)
        model = kind(inputs, x)
        model.compile(tfopt.SGD(0.1), CROSS_ENTROPY, jit_compile=False)
        return model

    model, plain = built(Own), built(keras.Model)
    plain.compile(tfopt.SGD(0.2), CROSS_ENTROPY, jit_compile=False)
    histories = [train(m, 3, GreedyPretraining(1, head=head_like(40))) for m in (model, plain)]
    np.testing.assert_allclose(histories[0]["loss"], 2 * np.array(histories[1]["loss"]), rtol=1e-5)
    assert histories[0]["seen"] == [4.0, 4.0, 6.0]
    assert_equal(model, plain, 1e-6) if len(weights_of(model)) == len(weights_of(plain)) else [
        np.testing.assert_allclose(a, b, atol=1e-6)
        for a, b in zip(model.get_weights(), plain.get_weights(), strict=True)
    ]


def test_penalties_are_those_of_what_is_trained():
    """Frozen kernels have none; with a step of 0 they can be added up by hand."""
    layers = layers_of((6, 5), kernel_regularizer=keras.regularizers.L2(0.1))
    model = model_with(tfopt.SGD(1e-30), layers=layers)
    history = train(model, 3, GreedyPretraining(1), validation_data=(X, Y), batch_size=48)
    squares = [0.1 * np.sum(layer.kernel.numpy() ** 2) for layer in layers[:2]]
    plain = float(CROSS_ENTROPY(Y, model(X)))
    np.testing.assert_allclose(history["loss"][1:], [plain + squares[1], plain + sum(squares)], rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], history["loss"], rtol=1e-5)


def test_frozen_batch_normalisation_runs_on_its_statistics():
    layers = [
        keras.layers.Dense(6),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(4, "tanh"),
        keras.layers.Dense(3),
    ]
    model, kept = model_with(layers=layers), []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.append(layers[1].moving_mean.numpy())
    )
    train(model, 3, GreedyPretraining(1), keep)
    np.testing.assert_array_equal(kept[0], kept[1])
    assert (kept[0] != 0).any()
    assert (kept[2] != kept[1]).all()


def test_layers_frozen_by_the_user_stay_frozen():
    layers = layers_of()
    layers[1].trainable = False
    model = model_with(layers=layers)
    before = [w.numpy() for w in layers[1].weights]
    train(model, 4, GreedyPretraining(1))
    for a, b in zip(layers[1].weights, before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [layer.trainable for layer in layers] == [True, False, True, True]


def residual(outputs=1):
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input((8, 8, 2))
    for number in (1, 2):
        y = keras.layers.Conv2D(4, 3, padding="same", name=f"conv_{number}")(x)
        y = keras.layers.BatchNormalization()(y)
        skip = keras.layers.Conv2D(4, 1, name=f"skip_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(keras.layers.Add()([y, skip]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    heads = {f"out_{i}": keras.layers.Dense(3, name=f"out_{i}")(x) for i in range(outputs)}
    return keras.Model(inputs, heads if outputs > 1 else heads["out_0"])


def test_a_functional_model_with_branches_within_its_blocks():
    images, model = RNG.normal(size=(16, 8, 8, 2)).astype("float32"), residual()
    model.compile(tfopt.Adam(0.01), CROSS_ENTROPY, jit_compile=False)
    greedy, names = GreedyPretraining(1), []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: names.append(greedy.stage_names)
    )
    history = model.fit(images, Y[:16], epochs=3, verbose=0, callbacks=[greedy, watch]).history
    assert history["stage"] == [1, 2, 3]
    assert names[0] == ["conv_1", "conv_2", "fine-tuning"]


@pytest.mark.slow
def test_several_outputs_from_one_head():
    images, model = RNG.normal(size=(16, 8, 8, 2)).astype("float32"), residual(outputs=2)
    losses = {"out_0": CROSS_ENTROPY, "out_1": "mse"}
    model.compile(tfopt.Adam(0.01), losses, loss_weights={"out_0": 1.0, "out_1": 0.5}, jit_compile=False)
    targets = {"out_0": Y[:16], "out_1": np.ones((16, 3))}
    greedy = GreedyPretraining(1, blocks=["relu_1", "relu_2"])
    history = model.fit(images, targets, epochs=3, verbose=0, callbacks=[greedy]).history
    assert history["stage"] == [1, 2, 3]
    assert {"out_0_loss", "out_1_loss"} <= history.keys()


@pytest.mark.slow
def test_sequences_with_masks_datasets_and_a_head_of_another_form():
    words = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [2, 2, 2, 2]] * 4)
    layers = [
        keras.layers.Embedding(6, 4, mask_zero=True, name="words"),
        keras.layers.GRU(5, return_sequences=True, name="first"),
        keras.layers.GRU(4, name="second"),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential([keras.Input((4,), dtype="int32"), *layers])
    model.compile(tfopt.Adam(0.01), CROSS_ENTROPY, jit_compile=False)

    def head(hidden):
        if len(hidden.shape) == 3:
            hidden = keras.layers.GlobalAveragePooling1D()(hidden)
        return keras.layers.Dense(3)(hidden)

    data = tf.data.Dataset.from_tensor_slices((words, Y[:12])).batch(4)
    history = model.fit(data, epochs=4, verbose=0, callbacks=[GreedyPretraining(1, head=head)]).history
    assert history["stage"] == [1, 2, 3, 4]


def test_one_layer_as_the_head_keeps_its_weights_from_stage_to_stage():
    shared, seen = keras.layers.Dense(3), []
    model = model_with(tfopt.SGD(0.1), (6, 6, 6))
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(shared.kernel.numpy()))
    train(model, 4, GreedyPretraining(1, head=shared), note)
    assert (seen[1] != seen[0]).all()
    np.testing.assert_array_equal(seen[2], seen[1])


@pytest.mark.slow
def test_with_a_continuation_of_losses():
    path = tfopt.losses.Continuation(["mse", "mae"], [2])
    model = model_with()
    model.compile(tfopt.Adam(0.01), path, jit_compile=False)
    stages = tfopt.callbacks.ContinuationStages()
    history = model.fit(
        X, np.eye(3)[Y], epochs=4, verbose=0, callbacks=[GreedyPretraining(1), stages], validation_split=0.25
    ).history
    assert (history["stage"], history["continuation_stage"]) == ([1, 2, 3, 4], [0, 0, 1, 1])


# -- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs_per_stage", []),
        ("epochs_per_stage", "two"),
        ("head", 3),
        ("blocks", []),
        ("blocks", "hidden_1"),
        ("blocks", [1]),
    ],
)
def test_refuses_bad_arguments(argument, value):
    with pytest.raises(ValueError) as caught:
        GreedyPretraining(**{"epochs_per_stage": 1} | {argument: value})
    assert str(caught.value).startswith(f"GreedyPretraining({argument}={value!r}): expected ")


@pytest.mark.parametrize("epochs", [0, [1, 0], 1.5, None])
def test_refuses_epochs_that_are_no_positive_integers(epochs):
    with pytest.raises(ValueError, match=r"^GreedyPretraining\(epochs_per_stage="):
        GreedyPretraining(epochs)


def branched():
    inputs = keras.Input((5,))
    left, right = (keras.layers.Dense(4, "tanh", name=name)(inputs) for name in ("left", "right"))
    joined = keras.layers.Dense(3, name="out")(keras.layers.Concatenate()([left, right, inputs]))
    return keras.Model(inputs, joined)


def two_towers():
    inputs = keras.Input((5,))
    outputs = [
        keras.layers.Dense(3, name=f"out_{i}")(keras.layers.Dense(4, name=f"in_{i}")(inputs)) for i in (1, 2)
    ]
    return keras.Model(inputs, keras.layers.Average()(outputs))


def unbuilt():
    return keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(3)

    def call(self, inputs):
        return self.inner(inputs)


def convolutional():
    layers = [keras.layers.Conv1D(4, 2, name=name) for name in ("one", "two")]
    return keras.Sequential([keras.Input((5, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(3)])


WIDE = lambda hidden: keras.layers.Dense(4)(hidden)  # noqa: E731
BAD = {
    "no hidden layer": (
        lambda: keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)]),
        {},
        "hidden layer to",
    ),
    "nothing to train": (
        lambda: keras.Sequential([keras.Input((5,)), keras.layers.Softmax()]),
        {},
        "hidden layer to",
    ),
    "subclassed": (Subclassed, {}, "expected a Sequential or functional model"),
    "not built": (
        unbuilt,
        {},
        "built=False>.: expected a Sequential or functional model that is built; start",
    ),
    "no chain": (two_towers, {}, "expected a chain of blocks, which branches between in_.* are not; name"),
    "a branch named": (branched, {"blocks": ["left"]}, r"\(blocks='left'\): expected layers of a chain"),
    "unknown name": (
        None,
        {"blocks": ["hidden_9"]},
        r"\(blocks='hidden_9'\): expected names of the model's layers",
    ),
    "wrong order": (None, {"blocks": ["hidden_2", "hidden_1"]}, "expected names in the order of the layers"),
    "no head left": (None, {"blocks": ["hidden_1", "head"]}, "expected blocks that leave the model a head"),
    "too few epochs": (
        None,
        {"epochs_per_stage": 3},
        r"fit\(epochs=9\): expected at least 10: 9 for the 3 stages and",
    ),
    "a wrong list": (None, {"epochs_per_stage": [1, 1]}, "expected one number for each of the 3 stages"),
    "a head of another width": (
        None,
        {"head": WIDE},
        r"expected a function of .*'hidden_1', of shape \(None, 6\)",
    ),
    "a head that fails": (None, {"head": lambda hidden: 1 / 0}, "the head fails: division by zero"),
    "a head that gives nothing": (None, {"head": lambda hidden: None}, "the head gives NoneType"),
    "no time to stop early": (
        lambda: model_with(widths=(4,) * 9),
        {"epochs_per_stage": keras.callbacks.EarlyStopping("loss")},
        r"fit\(epochs=9\): expected at least 10, one for each stage and for the fine-tuning",
    ),
}


@pytest.mark.parametrize(("make", "arguments", "message"), BAD.values(), ids=BAD)
def test_refuses_what_it_cannot_pretrain_and_touches_nothing(make, arguments, message):
    model = (make or model_with)()
    model.compile(tfopt.Adam(0.01), "mse" if make else CROSS_ENTROPY, jit_compile=False)
    if model.built:
        model.optimizer.build(model.trainable_variables)
    optimizer, attributes = model.optimizer, vars(model).keys()
    before = [np.array(v.numpy()) for v in (*model.variables, *optimizer.variables)]
    greedy = GreedyPretraining(**{"epochs_per_stage": 1} | arguments)
    targets = np.ones((48, 3), "float32") if make else Y
    with pytest.raises(ValueError, match=message):
        model.fit(X, targets, epochs=9, verbose=0, callbacks=[greedy])
    after = [np.array(v.numpy()) for v in (*model.variables, *optimizer.variables)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.optimizer is optimizer
    assert not hasattr(model, "greedy_pretraining")
    assert "train_step" not in vars(model)
    assert attributes <= vars(model).keys()


def test_a_head_that_is_missing_a_flatten_is_told_so():
    inputs, targets = X[..., None], np.ones((48, 3))
    model = convolutional()
    model.compile("sgd", "mse")
    message = r"^GreedyPretraining\(head=None\): expected a function .*a copy of the model's head gives"
    flatten = model.layers[-2].name
    with pytest.raises(ValueError, match=message):
        model.fit(inputs, targets, epochs=9, callbacks=[GreedyPretraining(1, blocks=["one", flatten])])
    greedy = GreedyPretraining(1)
    history = model.fit(inputs, targets, epochs=4, verbose=0, callbacks=[greedy]).history
    assert history["stage"] == [1, 2, 3, 3]
