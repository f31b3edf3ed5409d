"""The search for the scale of the initial weights: what it finds, and that it leaves no trace but that."""

import builtins
import io
import math

import keras
import numpy as np
import pytest

from tfopt import tune_init_scale
from tfopt.initializers._init_scales import InitScales
from tfopt.layers import WeightNormalization

L = keras.layers


@pytest.fixture(autouse=True)
def tuner():
    return pytest.importorskip("keras_tuner")


def deep(stddev, depth=3):
    """A tanh network whose weights are far too small or too large."""
    keras.utils.set_random_seed(0)
    small = keras.initializers.RandomNormal(stddev=stddev, seed=1)
    hidden = [L.Dense(12, "tanh", kernel_initializer=small, name=f"hidden{i}") for i in range(depth)]
    model = keras.Sequential(
        [keras.Input((4,)), L.BatchNormalization(), *hidden, L.Dropout(0.05), L.Dense(1, name="out")]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="mse")
    return model


def shallow(**options):
    hidden = L.Dense(3, name="hidden0")
    model = keras.Sequential([keras.Input((4,)), hidden, L.Dense(1, name="out")])
    model.compile("sgd", loss="mse", **options)
    return model


def data(n=64):
    x = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    return x, x[:, :1] - x[:, 1:2]


def state(model):
    return [np.array(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")}


@pytest.fixture(scope="module")
def searched():
    pytest.importorskip("keras_tuner")
    model = deep(0.02)
    model.optimizer.build(model.trainable_variables)
    before, start = state(model), kernels(model)
    found = tune_init_scale(
        model, *data(), low=0.1, high=100.0, trials=12, epochs=3, batch_size=16, verbose=0
    )
    return model, before, start, found


def test_it_finds_larger_weights_where_they_are_too_small(searched):
    _, _, _, found = searched
    assert found.value < 0.5 * found.untouched
    assert math.prod(found.scales[f"hidden{i}"] for i in range(3)) > 100


def test_it_reports_all_trials_and_the_best_is_the_best(searched):
    _, _, _, found = searched
    assert len(found.trials) == 12
    assert found.trials[0] == (dict.fromkeys(["hidden0", "hidden1", "hidden2", "out"], 1.0), found.untouched)
    assert found.value == min(value for _, value in found.trials)
    assert (found.scales, found.value) in found.trials
    scales = np.array([list(scales.values()) for scales, _ in found.trials[1:]])
    assert scales.min() >= 0.1
    assert scales.max() <= 100
    # Logarithmic: about as many below √(0.1·100) as above.
    assert 0.25 < (scales < math.sqrt(10)).mean() < 0.75


def test_the_model_holds_scaled_kernels_and_all_else_is_as_before(searched):
    model, before, start, found = searched
    for name, kernel in kernels(model).items():
        np.testing.assert_allclose(kernel, found.scales[name] * start[name], rtol=1e-6)
    scaled = {v.path for layer in model.layers if hasattr(layer, "kernel") for v in [layer.kernel]}
    variables = [*model.variables, *model.optimizer.variables]
    for variable, now, then in zip(variables, state(model), before, strict=True):
        if variable.path not in scaled:
            np.testing.assert_array_equal(now, then, err_msg=variable.path)


def test_scales_apply_to_another_model(searched):
    _, _, start, found = searched
    other = deep(0.02)
    found.apply(other)
    for name, kernel in kernels(other).items():
        np.testing.assert_allclose(kernel, found.scales[name] * start[name], rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"InitScales.apply\(model=.*the layers hidden0, hidden1, hidden2 too"
    ):
        found.apply(keras.Sequential([keras.Input((2,)), L.Dense(1, name="out")]))


def test_the_table(searched):
    console = pytest.importorskip("rich.console").Console(record=True, width=100, file=io.StringIO())
    console.print(searched[3])
    text = console.export_text()
    assert "12 trials" in text
    assert all(name in text for name in searched[3].scales)


def test_the_seed_fixes_the_scales():
    runs = []
    for seed in (3, 3, 4):
        found = tune_init_scale(shallow(), *data(8), trials=3, seed=seed, verbose=0, layers=["hidden0"])
        runs.append([scales for scales, _ in found.trials])
    assert runs[0] == runs[1] != runs[2]
    assert all(list(scales) == ["hidden0"] for scales in runs[0])


def test_validation_data_decide_where_there_are_any():
    x, y = data()
    model = shallow()
    model.optimizer.learning_rate = 0.0
    far = y + 100
    found = tune_init_scale(model, x, y, trials=2, validation_data=(x, far), verbose=0)
    assert found.untouched > 5000
    best = model.evaluate(x, far, verbose=0)
    np.testing.assert_allclose(best, found.value, rtol=1e-4)


def test_a_metric_may_be_the_objective():
    found = tune_init_scale(
        shallow(metrics=["mae"]), *data(8), trials=2, objective="mae", epochs=2, verbose=0
    )
    assert found.value > 0
    with pytest.raises(ValueError, match=r"tune_init_scale\(objective='acc'\): expected one of loss"):
        tune_init_scale(shallow(), *data(8), trials=2, objective="acc", verbose=0)


class Exploding(keras.losses.Loss):
    """Infinite once the output is large."""

    def call(self, y_true, y_pred):
        error = keras.ops.mean(keras.ops.square(y_pred - y_true), axis=-1)
        return keras.ops.where(error > 4.0, math.inf, error)


def test_a_trial_that_diverges_loses_and_leaves_nothing_behind():
    model = keras.Sequential([keras.Input((4,)), L.Dense(1, name="line", kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), loss=Exploding())
    x = np.full((8, 4), 0.4, np.float32)
    found = tune_init_scale(model, x, np.zeros((8, 1)), trials=12, high=100.0, verbose=0)
    values = [value for _, value in found.trials]
    assert math.inf in values
    assert math.isfinite(found.value)
    assert np.isfinite(model.get_weights()[0]).all()


def test_no_trial_that_ends_well_is_an_error_and_the_model_is_as_it_was():
    model = keras.Sequential([keras.Input((4,)), L.Dense(1, name="line", kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), loss=Exploding())
    with pytest.raises(ValueError, match="no trial ended with a finite value"):
        tune_init_scale(model, np.full((8, 4), 1e3), np.zeros((8, 1)), trials=3, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], 1)


def test_an_error_in_a_later_trial_is_raised_and_the_model_restored():
    class Fails(keras.callbacks.Callback):
        runs = 0

        def on_train_begin(self, logs=None):
            self.runs += 1
            if self.runs == 2:
                raise OSError("the data went away")

    model = shallow()
    before = kernels(model)
    with pytest.raises(Exception, match="a trial failed at the scales") as raised:
        tune_init_scale(model, *data(8), trials=4, callbacks=[Fails()], verbose=0)
    assert isinstance(raised.value.__cause__, OSError)
    for name, kernel in kernels(model).items():
        np.testing.assert_array_equal(kernel, before[name])


def test_under_weight_normalization_the_lengths_are_scaled():
    hidden = WeightNormalization(L.GRU(3), name="hidden")
    model = keras.Sequential([keras.Input((5, 4)), hidden, L.Dense(1, name="out")])
    before = [w.numpy() for w in hidden.kernels]
    InitScales({"hidden": 3.0}, 0.0, 0.0, ()).apply(model)
    for now, then in zip(hidden.kernels, before, strict=True):
        np.testing.assert_allclose(now.numpy(), 3 * then, rtol=1e-6)


def test_progress_is_shown(capsys):
    tune_init_scale(shallow(), *data(8), trials=3, verbose=1)
    shown = capsys.readouterr().out
    assert "3/3" in shown
    assert "best" in shown
    tune_init_scale(shallow(), *data(8), trials=2, verbose=0)
    assert capsys.readouterr().out == ""


def test_without_the_tuner_the_error_names_the_extra(monkeypatch):
    genuine = builtins.__import__

    def missing(name, *arguments, **options):
        if name == "keras_tuner":
            raise ImportError(name)
        return genuine(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"needs KerasTuner: pip install 'tfopt\[tune\]'"):
        tune_init_scale(shallow(), *data(8), trials=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0}, r"tune_init_scale\(low=0\)"),
        ({"low": 2, "high": 1}, r"tune_init_scale\(high=1\): expected a finite number with high > low"),
        ({"trials": 1}, r"tune_init_scale\(trials=1\)"),
        ({"seed": -1}, r"tune_init_scale\(seed=-1\)"),
        ({"layers": ["hidden7"]}, r"layers=\['hidden7'\]\): expected names among hidden0, out"),
        ({"layers": []}, r"tune_init_scale\(layers=\[\]\)"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        tune_init_scale(shallow(), *data(8), **arguments)


def test_models_that_cannot_be_searched_are_refused():
    plain = keras.Sequential([keras.Input((4,)), L.Dense(1)])
    with pytest.raises(ValueError, match=r"tune_init_scale\(model=.*built and compiled"):
        tune_init_scale(plain, *data(8))
    without = keras.Sequential([keras.Input((4,)), L.BatchNormalization()])
    without.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"tune_init_scale\(model=.*a model with a kernel"):
        tune_init_scale(without, *data(8))
    with pytest.raises(ValueError, match=r"tune_init_scale\(x=.*read more than once"):
        tune_init_scale(shallow(), iter([data(8)]))
