"""CurvatureMonitor, GradientFlow and GradientNoiseScale in fit: numbers, logs, cost, modes, bad input."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.callbacks import CurvatureMonitor, GradientFlow, GradientNoiseScale

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = np.tanh(X @ RNG.normal(size=(4, 2))).astype("float32")
EACH = pytest.mark.parametrize("make", [CurvatureMonitor, GradientFlow, GradientNoiseScale])
NAMES = {
    CurvatureMonitor: {
        "squared_gradient_norm",
        "gradient_curvature",
        "critical_rate",
        "ill_conditioned",
        "predicted_change",
        "actual_change",
    },
    GradientFlow: {"gradient_depth_factor"},
    GradientNoiseScale: {"gradient_variance", "gradient_noise_scale", "suggested_batch"},
}


def network(optimizer=None, **options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(2)])
    model.compile(optimizer or tfopt.SGD(0.1), "mse", **options)
    return model


def fit(model, *callbacks, **options):
    arguments = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0} | options
    return model.fit(X, Y, callbacks=list(callbacks), **arguments).history


def linear(start, factors, optimizer):
    """Weights w with loss ½ Σ a_i w_i² whatever the data are."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(len(start), use_bias=False)])
    model.set_weights([np.array([start])])
    model.compile(optimizer, lambda y, w: 0.5 * tf.reduce_sum(tf.constant(factors) * w**2, axis=-1))
    return model


ONES = np.ones((12, 1), "float32")


# -- CurvatureMonitor -----------------------------------------------------------------------------------


def test_a_quadratic_step_by_step():
    a, w, rate = np.array([1.0, 30.0]), np.array([2.0, 0.1]), 0.06
    monitor = CurvatureMonitor(ONES, ONES, every=2)
    linear(w, [1.0, 30.0], tfopt.SGD(rate)).fit(ONES, ONES, batch_size=2, verbose=0, callbacks=[monitor])
    wanted = []
    for step in range(6):
        g = a * w
        change = 0.5 * a @ (w - rate * g) ** 2 - 0.5 * a @ w**2
        row = (g @ g, g @ (a * g), 2 * g @ g / (g @ (a * g)), change > 0, change, change)
        wanted += [row] if step % 2 == 0 else []
        w = w - rate * g
    seen = monitor.history
    names = list(NAMES[CurvatureMonitor] & set(seen))
    assert len(names) == 6
    order = ["squared_gradient_norm", "gradient_curvature", "critical_rate", "ill_conditioned"]
    order += ["predicted_change", "actual_change"]
    np.testing.assert_allclose(np.transpose([seen[name] for name in order]), wanted, rtol=2e-4)
    np.testing.assert_array_equal(seen["step"], [0, 2, 4])
    np.testing.assert_allclose(seen["learning_rate"], rate, rtol=1e-6)


def test_the_flag_agrees_with_steps_that_raise_the_loss():
    """The second rate is too high for the curvature, once the gradient points along it."""
    seen = {}
    for rate in (0.02, 0.2):
        monitor = CurvatureMonitor(ONES, ONES, every=1)
        model = linear([2.0, 0.1], [1.0, 30.0], tfopt.SGD(rate))
        model.fit(ONES, ONES, batch_size=2, verbose=0, callbacks=[monitor])
        seen[rate] = monitor.history
        np.testing.assert_array_equal(seen[rate]["ill_conditioned"] > 0, seen[rate]["actual_change"] > 0)
        assert bool(monitor.findings) == (rate == 0.2)
    assert not seen[0.02]["ill_conditioned"].any()
    assert seen[0.2]["ill_conditioned"].any()
    # Strong gradients beside a loss that does not fall: what the chapter describes.
    assert seen[0.2]["squared_gradient_norm"][-1] > seen[0.2]["squared_gradient_norm"][0]


@pytest.mark.parametrize(
    "optimizer", [lambda: tfopt.Adam(0.01), lambda: keras.optimizers.SGD(0.05, momentum=0.9)]
)
def test_changes_are_those_of_the_optimizers_own_step(optimizer):
    monitor = CurvatureMonitor(X, Y, every=1)
    model = network(optimizer())
    losses = [model.evaluate(X, Y, verbose=0)]
    after = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(float(model.compute_loss(X, Y, model(X))))
    )
    fit(model, monitor, after, epochs=1)
    seen = monitor.history
    np.testing.assert_allclose(seen["actual_change"], np.diff(losses), rtol=1e-3, atol=2e-6)
    np.testing.assert_allclose(seen["predicted_change"], seen["actual_change"], rtol=0.2, atol=1e-4)


def test_learning_rates_of_schedules_and_of_wrapped_optimizers():
    schedule = tfopt.schedules.LinearDecay(0.1, tau=6)
    for optimizer in (
        tfopt.SGD(schedule),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule)),
    ):
        monitor = CurvatureMonitor(X, Y, every=3)
        fit(network(optimizer), monitor)
        wanted = [float(schedule(step)) for step in (0, 3)]
        np.testing.assert_allclose(monitor.history["learning_rate"], wanted, rtol=1e-5)


# -- GradientFlow and GradientNoiseScale ----------------------------------------------------------------


def test_a_planted_recurrence():
    x = RNG.normal(size=(8, 20, 2)).astype("float32")
    for factor, name in ((0.3, "vanishing"), (1.6, "exploding")):
        rnn = keras.layers.SimpleRNN(3, activation="linear", name="rnn")
        model = keras.Sequential([keras.Input((20, 2)), rnn, keras.layers.Dense(1)])
        rnn.cell.recurrent_kernel.assign(factor * np.eye(3))
        model.compile(tfopt.SGD(1e-12), "mse")
        flow = GradientFlow(x, x[:, 0, :1])
        log = model.fit(x, x[:, 0, :1], verbose=0, callbacks=[flow]).history
        assert log["gradient_time_factor"][0] == pytest.approx(factor**19, rel=1e-4)
        assert [finding.name for finding in flow.findings] == [f"{name} gradient through the time of rnn"]
        titles = [axes.get_title() for axes in flow.plot().axes]
        assert titles == ["Gradient through depth", f"Gradient through time, rnn: {name}"]


def test_the_noise_of_an_epoch_is_a_ratio_of_means():
    noise = GradientNoiseScale(X, Y, every=1, batch_size=2)
    log = fit(network(), noise, epochs=1)
    records = [record for _, record in noise.records]
    assert len(records) == 3
    squared = np.mean([record.squared_norm for record in records])
    variance = np.mean([record.variance for record in records])
    assert log["gradient_variance"][0] == pytest.approx(variance)
    assert log["gradient_noise_scale"][0] == pytest.approx(variance / squared)


def test_the_same_numbers_as_the_functions():
    flow, noise = GradientFlow(X, Y), GradientNoiseScale(X, Y, batch_size=3)
    fit(network(), flow, noise)
    model = network()
    wanted = tfopt.analysis.gradient_flow(model, X, Y)
    assert flow.records[0][1].depth.factor == pytest.approx(wanted.depth.factor, rel=1e-5)
    wanted = tfopt.analysis.gradient_noise_scale(model, X, Y, batch_size=3)
    np.testing.assert_allclose(noise.records[0][1], wanted, rtol=1e-4)


# -- what all of them promise ---------------------------------------------------------------------------


@EACH
def test_logs_of_every_epoch(make, tmp_path):
    """7 steps apart: the second epoch, steps 3 to 5, has no measurement of its own."""
    probe = make(X, Y, every=7)
    stop = keras.callbacks.EarlyStopping(monitor=sorted(NAMES[make])[0], patience=10, mode="min")
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    log = fit(network(), probe, stop, table, epochs=3)
    assert NAMES[make] <= set(log)
    for name in NAMES[make]:
        values = log[name]
        assert len(values) == 3
        assert values[0] == values[1] != values[2] or name in ("ill_conditioned", "suggested_batch")
    assert probe.history["step"].tolist() == [0, 7]
    assert sorted(NAMES[make])[0] in (tmp_path / "log.csv").read_text()


@EACH
def test_training_does_not_notice(make):
    watched, alone = network(tfopt.Adam(0.01)), network(tfopt.Adam(0.01))
    left, right = fit(watched, make(X, Y, every=1)), fit(alone)
    np.testing.assert_array_equal(left["loss"], right["loss"])
    for a, b in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("every", "steps"), [(1, [0, 4, 6, 10]), (4, [0, 4, 10]), (5, [0, 6, 10]), (7, [0, 10]), (12, [0])]
)
def test_steps_are_train_steps_whatever_an_execution_holds(every, steps):
    """Two epochs of six steps; executions begin at 0, 4, 6 and 10."""
    flow, monitor = GradientFlow(X, Y, every=every), CurvatureMonitor(X, Y, every=every)
    fit(network(steps_per_execution=4), flow, monitor, batch_size=4)
    np.testing.assert_array_equal(flow.history["step"], steps)
    np.testing.assert_array_equal(monitor.history["step"], steps)


def test_a_second_fit_counts_on():
    noise = GradientNoiseScale(X, Y, every=4)
    model = network()
    fit(model, noise)
    fit(model, noise)
    np.testing.assert_array_equal(noise.history["step"], [0, 4, 8])


class Counted(keras.utils.PyDataset):
    """Batches of 4 that count how often they are read."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    @property
    def num_batches(self):
        return 6

    def __getitem__(self, index):
        self.reads += 1
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


@pytest.mark.parametrize(
    ("make", "passes"), [(CurvatureMonitor, 4), (GradientFlow, 1), (GradientNoiseScale, 1)]
)
def test_the_cost_is_what_the_docstring_says(make, passes):
    """Passes over the data per measurement; one more at the start, to weigh the batches."""
    data = Counted()
    probe = make(data, every=2)
    fit(network(), probe)
    assert len(probe.records) == 3
    assert data.reads == 6 * (1 + 3 * passes)


MODES = {
    "jit": {"jit_compile": True},
    "eager": {"run_eagerly": True},
    "several steps": {"steps_per_execution": 3},
    "accumulation": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@EACH
def test_modes(make, mode):
    accumulates = {"gradient_accumulation_steps": 3} if mode == "accumulation" else {}
    probe = make(X, Y, every=1, jit_compile=mode == "jit", batch_size=4)
    log = fit(network(tfopt.SGD(0.1, **accumulates), **MODES[mode]), probe)
    plain = make(X, Y, every=1, batch_size=4)
    fit(network(), plain)
    for name in NAMES[make]:
        assert log[name][0] == pytest.approx(log[name][0])
        first = [one.history[name][0] for one in (probe, plain)]
        if mode in ("jit", "eager") or "change" not in name:
            assert first[0] == pytest.approx(first[1], rel=1e-3)
    assert len(probe.records) == (2 if mode == "several steps" else 6)


@pytest.mark.slow
@EACH
def test_two_replicas_like_one(make, strategy):
    with strategy.scope():
        model = network()
    both, one = make(X, Y, every=2), make(X, Y, every=2)
    left, right = fit(model, both), fit(network(), one)
    for name in NAMES[make]:
        np.testing.assert_allclose(left[name], right[name], rtol=2e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@EACH
def test_mixed_precision(make, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = make(X, Y)
        fit(network(keras.optimizers.SGD(0.1)), mixed)
    finally:
        keras.config.set_dtype_policy(before)
    plain = make(X, Y)
    fit(network(keras.optimizers.SGD(0.1)), plain)
    for name in NAMES[make] - {"actual_change", "predicted_change"}:
        assert mixed.history[name][0] == pytest.approx(plain.history[name][0], rel=0.2)


@EACH
def test_tensorboard_gets_each_measurement_and_each_epoch(make, tmp_path, monkeypatch):
    """Keras' callback with its scalars, which need TensorBoard itself, noted down instead."""
    written, summary = [], importlib.import_module("tensorflow.summary")

    def write(tag, tensor, step, metadata=None):
        written.append((tag, int(step), float(tensor)))

    monkeypatch.setattr(summary, "write", write)
    monkeypatch.setattr(summary, "scalar", lambda name, value, step: write(name, value, step))
    probe = make(X, Y, every=2)
    fit(network(), probe, keras.callbacks.TensorBoard(tmp_path, update_freq=1, write_graph=False))
    for name in NAMES[make]:
        steps = [step for tag, step, _ in written if tag == f"batch_{name}"]
        assert len(steps) == 3
        assert np.diff(steps).tolist() == [2, 2]
        assert sum(tag == f"epoch_{name}" for tag, _, _ in written) == 2


def test_scalars_are_what_tensorboard_reads(tmp_path):
    probe = GradientNoiseScale(X, Y, batch_size=2)
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default(step=5):
        fit(network(), probe, epochs=1)
    writer.close()
    (path,) = tmp_path.iterdir()
    events = [tf.compat.v1.Event.FromString(bytes(r.numpy())) for r in tf.data.TFRecordDataset(str(path))]
    values = {v.tag: (e.step, v) for e in events for v in e.summary.value}
    step, value = values["batch_gradient_variance"]
    assert step == 5
    assert value.metadata.plugin_data.plugin_name == "scalars"
    found = tf.make_ndarray(value.tensor)
    assert found == pytest.approx(probe.history["gradient_variance"][0], rel=1e-6)


@EACH
def test_pictures(make):
    probe = make(X, Y, every=1)
    with pytest.raises(ValueError, match=r"plot: expected a model\.fit with this callback before"):
        probe.plot()
    assert probe.findings == []
    assert probe.history == {}
    fit(network(), probe)
    figure = probe.plot()
    assert all(axes.get_title() and (axes.lines or axes.collections) for axes in figure.axes)
    figure.canvas.draw()


@EACH
def test_models_without_loss_are_refused_and_left_alone(make):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(tfopt.SGD(0.1))
    before = model.get_weights()
    probe = make(X, Y)
    probe.set_model(model)
    with pytest.raises(
        ValueError, match=rf"{make.__name__}\(model='sequential.*expected a model with a loss"
    ):
        probe.on_train_begin()
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CurvatureMonitor(X, Y, every=0),
            r"CurvatureMonitor\(every=0\): expected an integer with every >= 1",
        ),
        (lambda: GradientFlow(X, Y, bound=1), "bound > 1"),
        (lambda: fit(network(), GradientNoiseScale(X, Y, batch_size=24)), "expected at least two batches"),
        (lambda: fit(network(), CurvatureMonitor(X, Y[:3])), r"CurvatureMonitor\(x=\[3, 24\]"),
        (
            lambda: fit(network(), GradientFlow(None)),
            r"GradientFlow\(x=None\): expected the data of the loss",
        ),
        (lambda: fit(network(), GradientFlow(X, Y, jit_compile=1)), "jit_compile=1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
