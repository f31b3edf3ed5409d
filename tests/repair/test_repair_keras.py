"""repair_keras: second derivatives against finite differences of the gradient, before, during and after."""

import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.repair import _glue, repair_keras, stopped_moments
from tfopt.repair._repair import Patch, Patches, Repair
from tfopt.repair.stopped_moments import graph_has_stopped_moments, unmended_layers

# The package's attribute of this name is the function.
MODULE = sys.modules["tfopt.repair.repair_keras"]
NAMES = ("normalization", "multi_worker_fit", "steps_per_execution")
LAYERS = {
    "batch": lambda: keras.layers.BatchNormalization(dtype="float64"),
    "batch, first axis": lambda: keras.layers.BatchNormalization(axis=1, dtype="float64"),
    "layer": lambda: keras.layers.LayerNormalization(dtype="float64"),
    "layer, two axes": lambda: keras.layers.LayerNormalization(axis=(2, 3), dtype="float64"),
    "group": lambda: keras.layers.GroupNormalization(groups=2, dtype="float64"),
}


@pytest.fixture(autouse=True)
def unmended():
    """Start and end with Keras as it is."""
    assert stopped_moments.keras_stops_moments()
    stopped_moments._warn.cache_clear()
    yield
    tfopt.repair_keras(undo=True)
    assert stopped_moments.keras_stops_moments()


class Problem:
    """A small network with a normalisation layer, in float64, and a random direction."""

    def __init__(self, make):
        keras.utils.set_random_seed(5)
        self.model = keras.Sequential(
            [
                keras.Input((3, 3, 2)),
                keras.layers.Conv2D(4, 2, activation="tanh", dtype="float64"),
                make(),
                keras.layers.Flatten(dtype="float64"),
                keras.layers.Dense(2, dtype="float64"),
            ]
        )
        rng = np.random.default_rng(5)
        self.x, self.y = tf.constant(rng.normal(size=(6, 3, 3, 2))), tf.constant(rng.normal(size=(6, 2)))
        self.weights = [v.value for v in self.model.trainable_variables]
        for v in self.weights:
            v.assign(rng.normal(size=v.shape))
        self.direction = [tf.constant(rng.normal(size=v.shape)) for v in self.weights]

    def loss(self):
        return tf.reduce_mean((self.model(self.x, training=True) - self.y) ** 2)

    def gradient(self):
        with tf.GradientTape() as tape:
            loss = self.loss()
        return tape.gradient(loss, self.weights)

    def product(self):
        with tf.GradientTape() as outer:
            gradient = self.gradient()
        parts = outer.gradient(gradient, self.weights, output_gradients=self.direction)
        return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)

    def difference(self, step=1e-3):
        """Hv by central differences of the gradient, extrapolated twice."""
        once, half, quarter = (self._central(step / k) for k in (1, 2, 4))
        first, second = (4 * half - once) / 3, (4 * quarter - half) / 3
        return (16 * second - first) / 15

    def _central(self, step):
        return (self._shifted(step) - self._shifted(-step)) / (2 * step)

    def _shifted(self, step):
        start = [tf.identity(v) for v in self.weights]
        for v, d in zip(self.weights, self.direction, strict=True):
            v.assign_add(step * d)
        gradient = flat(self.gradient())
        for v, s in zip(self.weights, start, strict=True):
            v.assign(s)
        return gradient


def flat(parts):
    return np.concatenate([np.ravel(part) for part in parts])


def apart(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_second_derivatives_are_wrong_before_right_during_and_as_before_after(make):
    problem = Problem(make)
    truth, before = problem.difference(), problem.product()
    assert apart(before, truth) > 1e-3
    with tfopt.repair_keras():
        assert apart(problem.product(), truth) < 1e-8
    np.testing.assert_array_equal(problem.product(), before)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_values_stay_to_the_bit_and_first_derivatives_to_rounding(make):
    problem = Problem(make)
    value, gradient = problem.loss(), flat(problem.gradient())
    with tfopt.repair_keras():
        assert float(problem.loss()) == float(value)
        assert apart(flat(problem.gradient()), gradient) < 1e-14


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("keepdims", [True, False])
def test_statistics_keep_values_shapes_and_dtypes(dtype, keepdims):
    x = tf.cast(np.random.default_rng(0).normal(3, 2, size=(4, 5, 6)), dtype)
    expected = keras.ops.moments(x, axes=[0, -1], keepdims=keepdims)
    with tfopt.repair_keras():
        found = keras.ops.moments(x, axes=[0, -1], keepdims=keepdims)
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)


def test_a_jitted_function_is_mended_too():
    problem = Problem(LAYERS["layer"])
    truth = problem.difference()
    with tfopt.repair_keras():
        assert apart(tf.function(problem.product, jit_compile=True)(), truth) < 1e-8


def test_the_original_function_itself_comes_back():
    owner, name = _glue.MOMENTS.owner, _glue.MOMENTS.name
    original = getattr(owner, name)
    tfopt.repair_keras()
    assert getattr(owner, name) is not original
    tfopt.repair_keras(undo=True)
    assert getattr(owner, name) is original


def test_it_says_what_it_did(capsys):
    with tfopt.repair_keras() as outer:
        with tfopt.repair_keras() as inner:
            assert (outer.mended, inner.mended) == (NAMES, ())
            assert repr(outer) == f"Repairs(mended={list(NAMES)})"
        # The inner call mended nothing, so the end of its block undoes nothing.
        assert not stopped_moments.keras_stops_moments()
    said = capsys.readouterr().out.splitlines()
    assert ["mended" in line for line in said] == [True] * 6 + [False] * 3
    assert ["earlier call" in line for line in said] == [False] * 3 + [True] * 3 + [False] * 3
    assert ["undid" in line for line in said] == [False] * 6 + [True] * 3
    outer.undo()
    tfopt.repair_keras(undo=True)
    assert capsys.readouterr().out == ""


def test_an_old_handle_undoes_no_later_call():
    old = tfopt.repair_keras()
    tfopt.repair_keras(undo=True)
    tfopt.repair_keras()
    old.undo()
    assert not stopped_moments.keras_stops_moments()


def test_nothing_happens_where_keras_is_mended_or_unknown(monkeypatch, capsys):
    touched = []
    entry = MODULE.REPAIRS[0]._replace(apply=lambda: touched.append("applied"))
    monkeypatch.setattr(MODULE, "REPAIRS", (entry._replace(present=lambda: False),))
    assert tfopt.repair_keras().mended == ()
    assert f"Keras {keras.__version__} has it right" in capsys.readouterr().out
    monkeypatch.setattr(MODULE, "REPAIRS", (entry,))
    monkeypatch.setattr(keras, "__version__", "3.99.0")
    assert tfopt.repair_keras().mended == ()
    assert "not tried on Keras 3.99.0" in capsys.readouterr().out
    assert touched == []


def test_entries_are_undone_in_reverse_order(monkeypatch):
    log = []
    entries = [
        Repair(
            name=name,
            subject=name,
            applies=lambda _: True,
            present=lambda: True,
            apply=lambda name=name: log.append(f"+{name}"),
            undo=lambda name=name: log.append(f"-{name}"),
        )
        for name in "ab"
    ]
    monkeypatch.setattr(MODULE, "REPAIRS", tuple(entries))
    with tfopt.repair_keras():
        pass
    assert log == ["+a", "+b", "-b", "-a"]


def test_undo_does_not_overwrite_what_somebody_else_put_there():
    class Owner:
        attribute = "original"

    patch = Patch(Owner, "attribute", "replacement")
    patch.apply()
    Owner.attribute = "theirs"
    with pytest.raises(RuntimeError, match="attribute"):
        patch.undo()
    assert Owner.attribute == "theirs"
    Owner.attribute = "replacement"
    patch.undo()
    assert Owner.attribute == "original"


def test_several_patches_are_undone_together_or_not_at_all():
    owner = types.SimpleNamespace(__name__="owner", first=1, second=2)
    both = Patches(Patch(owner, "first", -1), Patch(owner, "second", -2))
    both.apply()
    owner.second = "theirs"
    with pytest.raises(RuntimeError, match=r"owner\.second"):
        both.undo()
    assert (owner.first, owner.second) == (-1, "theirs")
    owner.second = -2
    both.undo()
    assert (owner.first, owner.second) == (1, 2)


@pytest.mark.parametrize("undo", [1, "yes", None])
def test_undo_is_a_bool(undo):
    with pytest.raises(ValueError, match="undo"):
        repair_keras(undo=undo)


# -- Finding the fault ----------------------------------------------------------------------------------


def mixed_model():
    return keras.Sequential(
        [
            keras.Input((4, 6)),
            keras.layers.TimeDistributed(keras.layers.LayerNormalization(name="wrapped")),
            keras.layers.LayerNormalization(rms_scaling=True),
            keras.layers.RMSNormalization(),
            keras.layers.GroupNormalization(2, name="group"),
            keras.layers.BatchNormalization(synchronized=True),
            keras.layers.BatchNormalization(trainable=False),
            keras.layers.BatchNormalization(name="batch"),
            keras.layers.UnitNormalization(),
        ]
    )


def test_unmended_layers_are_those_with_the_fault():
    model = mixed_model()
    assert sorted(layer.name for layer in unmended_layers(model)) == ["batch", "group", "wrapped"]
    with tfopt.repair_keras():
        assert unmended_layers(model) == []


def graph_of(function, *arguments, **options):
    return tf.function(function, **options).get_concrete_function(*arguments).graph


X = tf.TensorSpec((5, 4), tf.float32)


def nested(x):
    inner = tf.function(lambda z: tf.nn.moments(z, [0])[1])
    return tf.while_loop(lambda i, _: i < 2, lambda i, z: (i + 1, z + inner(z)), (0, x))[1]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tf.nn.moments(x, [0])[1], True),
        (lambda x: tf.nn.moments(x, [0], name="statistics")[1], True),
        (nested, True),
        (lambda x: tf.reduce_mean(x), False),
        (lambda x: tf.math.reduce_variance(x), False),
        (lambda x: tf.stop_gradient(tf.reduce_mean(x)) * x, False),
        (lambda x: tf.math.squared_difference(x, tf.stop_gradient(x)), False),
        (lambda x: tf.nn.moments(tf.stop_gradient(x), [0])[0], True),
    ],
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_show_their_stopped_moments(function, expected, jit_compile):
    assert graph_has_stopped_moments(graph_of(function, X, jit_compile=jit_compile)) is expected


def test_the_graph_around_a_loop_is_searched_from_inside():
    seen = []

    def body(i, total):
        seen.append(graph_has_stopped_moments(tf.compat.v1.get_default_graph()))
        return i + 1, total

    def function(x):
        variance = tf.reduce_sum(tf.nn.moments(x, [0])[1])
        return tf.while_loop(lambda i, _: i < 2, body, (0, variance))

    graph_of(function, X)
    assert seen
    assert all(seen)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_train_step_shows_whether_its_layers_are_mended(jit_compile):
    seen = []

    class Probe(keras.optimizers.SGD):
        def apply(self, grads, trainable_variables=None):
            seen.append(graph_has_stopped_moments(tf.compat.v1.get_default_graph()))
            return super().apply(grads, trainable_variables)

    def train(layer):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), layer, keras.layers.Dense(1)])
        model.compile(Probe(), "mse", jit_compile=jit_compile)
        model.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
        found = seen[:]
        seen.clear()
        assert len(set(found)) == 1
        return found[0]

    assert train(keras.layers.LayerNormalization())
    assert not train(keras.layers.RMSNormalization())
    with tfopt.repair_keras():
        assert not train(keras.layers.LayerNormalization())
