"""Surrogate: the value of one loss, the gradients of all orders of another, and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3)).astype("float32")
Y = (X @ [1.0, -2.0, 0.5] > 0).astype("int32")
HINGE = keras.losses.Hinge()


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def surrogate():
    return tfopt.losses.Surrogate(tfopt.losses.ZeroOne(), cross_entropy())


def model_with(loss, optimizer=None, **options):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2)])
    model.compile(optimizer or tfopt.Adam(0.01), loss, **{"jit_compile": False} | options)
    return model


def derivatives(loss, logits, weights=None):
    variable = tf.Variable(logits)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            value = loss(Y, variable, weights)
        gradient = inner.gradient(value, variable)
    return value, gradient, outer.jacobian(gradient, variable)


@pytest.mark.parametrize("weights", [None, RNG.uniform(size=40).astype("float32")], ids=["plain", "weighted"])
def test_value_of_one_and_derivatives_of_the_other(weights):
    logits = RNG.normal(size=(40, 2)).astype("float32")
    value, *derived = derivatives(surrogate(), logits, weights)
    _, *expected = derivatives(cross_entropy(), logits, weights)
    wrong = (logits.argmax(1) != Y) * (1.0 if weights is None else weights)
    assert float(value) == pytest.approx(wrong.mean(), rel=1e-6)
    for got, wanted in zip(derived, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert np.abs(wanted).max() > 0


MODES = {"graph": {}, "jit": {"jit_compile": True}, "eager": {"run_eagerly": True}}


@pytest.mark.parametrize(
    "options",
    [pytest.param(o, id=mode, marks=[pytest.mark.slow] * (mode != "graph")) for mode, o in MODES.items()],
)
def test_weights_move_as_with_the_surrogate_alone_and_the_loss_is_the_error_rate(options):
    plain = model_with(cross_entropy(), metrics=[tfopt.metrics.ZeroOne()], **options)
    model = model_with(surrogate(), **options)
    runs = [m.fit(X, Y, batch_size=10, epochs=3, shuffle=False, verbose=0).history for m in (plain, model)]
    np.testing.assert_allclose(runs[1]["loss"], runs[0]["zero_one"], rtol=1e-6)
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 if "jit_compile" in options else 0)


@pytest.mark.slow
def test_two_replicas_like_one_device(strategy):
    alone = model_with(surrogate())
    with strategy.scope():
        model = model_with(surrogate())
    runs = [m.fit(X, Y, batch_size=10, epochs=3, shuffle=False, verbose=0).history for m in (alone, model)]
    np.testing.assert_allclose(runs[1]["loss"], runs[0]["loss"], rtol=1e-5)
    for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_true_loss_that_is_not_finite_does_not_reach_the_weights():
    def broken(y_true, y_pred):
        return tf.reduce_sum(y_pred, axis=-1) * float("nan")

    model = model_with(tfopt.losses.Surrogate(broken, cross_entropy()))
    model.fit(X, Y, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_saved_with_its_model_it_goes_on(tmp_path):
    model = model_with(surrogate(), metrics=[tfopt.metrics.ZeroOne("sparse")])
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss, tfopt.losses.Surrogate)
    found = loaded.evaluate(X, Y, return_dict=True, verbose=0)
    assert found["loss"] == pytest.approx(found["zero_one"], rel=1e-6)
    for m in (model, loaded):
        m.fit(X, Y, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", ["mae", keras.losses.mean_absolute_error, keras.losses.MeanAbsoluteError()])
def test_configuration_round_trip(value):
    made = tfopt.losses.Surrogate(value, HINGE, name="both")
    again = keras.losses.deserialize(keras.losses.serialize(made))
    assert again.get_config() == made.get_config()
    pair = np.array([[1.0], [-1.0]], "float32"), np.array([[0.5], [0.25]], "float32")
    assert float(again(*pair)) == float(made(*pair)) == pytest.approx(0.875)


def test_refuses_what_is_no_loss_and_values_of_two_shapes():
    with pytest.raises(ValueError, match=r"^Surrogate\(value=None\): expected a Keras loss"):
        tfopt.losses.Surrogate(None, "mse")
    with pytest.raises(ValueError, match=r"^Surrogate\(surrogate='nonsense'\): expected a Keras loss"):
        tfopt.losses.Surrogate("mse", "nonsense")
    apart = tfopt.losses.Surrogate("mse", keras.losses.MeanAbsoluteError(reduction="none"))
    with pytest.raises(ValueError, match=r"^Surrogate\(shapes=.*expected values of one shape"):
        apart(np.ones((2, 1)), np.ones((2, 1)))
