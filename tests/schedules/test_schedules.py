"""Both schedules against float64 formulas, in every execution mode and far out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt import schedules

STEPS = [0, 1, 2, 7, 99, 100, 101, 12_345, 10**6 - 1, 10**9 - 1, 10**9]


def linear_decay(k, initial, tau, final):
    return np.where(k < tau, (1 - k / tau) * initial + k / tau * final, final)


def robbins_monro(k, initial, power, tau):
    return initial / (1 + k / tau) ** power


CASES = [
    (schedules.LinearDecay(0.5, 100), lambda k: linear_decay(k, 0.5, 100, 0.005)),
    (schedules.LinearDecay(3.0, 10**9, final=1e-3), lambda k: linear_decay(k, 3.0, 1e9, 1e-3)),
    (schedules.LinearDecay(0.1, 2.5, final=0.1), lambda k: np.full(k.shape, 0.1)),
    (schedules.RobbinsMonro(0.5), lambda k: robbins_monro(k, 0.5, 1.0, 1.0)),
    (schedules.RobbinsMonro(2.0, power=0.6, tau=50), lambda k: robbins_monro(k, 2.0, 0.6, 50.0)),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].name}{tuple(case[0].get_config().values())[:3]}")
def case(request):
    return request.param


@pytest.mark.parametrize(
    "mode",
    [lambda f: f, tf.function, lambda f: tf.function(f, jit_compile=True)],
    ids=["eager", "graph", "jit"],
)
def test_equals_float64_formula(case, mode):
    schedule, reference = case
    call = mode(lambda step: schedule(step))
    rates = [call(tf.constant(step, tf.int64)).numpy() for step in STEPS]
    assert rates[0].dtype == np.float32
    np.testing.assert_allclose(rates, reference(np.array(STEPS, np.float64)), rtol=2e-7)


def test_takes_variables_and_python_integers(case):
    schedule, reference = case
    for step in (tf.Variable(70, dtype=tf.int64), 70):
        np.testing.assert_allclose(float(schedule(step)), reference(np.array([70.0]))[0], rtol=2e-7)


def test_neighbouring_steps_of_a_long_run_differ(case):
    floatx = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        schedule, reference = case
        k = np.array([10**9 - 2, 10**9 - 1], np.int64)
        rates = np.array([float(schedule(tf.constant(step))) for step in k])
        np.testing.assert_allclose(rates, reference(k.astype(np.float64)), rtol=1e-13)
    finally:
        keras.config.set_floatx(floatx)


def test_survives_serialization(case):
    schedule, _ = case
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(config)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    assert [float(again(step)) for step in STEPS] == [float(schedule(step)) for step in STEPS]


def test_survives_saving_with_a_model(case, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(case[0]), loss="mse")
    model.fit(np.ones((4, 2)), np.ones(4), batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert float(loaded.optimizer.learning_rate) == float(model.optimizer.learning_rate) == float(case[0](2))


def test_drives_an_optimizer_in_fit():
    schedule = schedules.LinearDecay(0.5, tau=4, final=0.1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(schedule), loss=lambda y, p: p)
    model.set_weights([np.zeros((1, 1))])
    model.fit(np.ones((6, 1)), np.ones(6), batch_size=1, verbose=0)
    # The gradient is 1, so the weight is minus the sum of the rates.
    np.testing.assert_allclose(model.get_weights()[0], -(0.5 + 0.4 + 0.3 + 0.2 + 0.1 + 0.1), rtol=1e-6)


def test_linear_decay_ends_at_one_percent_and_stays():
    schedule = schedules.LinearDecay(2.0, tau=1000)
    assert float(schedule(1000)) == float(schedule(10**9)) == np.float32(0.02)
    assert float(schedule(999)) > np.float32(0.02)


@pytest.mark.parametrize("power", [0.51, 0.75, 1.0])
def test_robbins_monro_sums(power):
    """Over the blocks [2ⁱ, 2ⁱ⁺¹) the rates add up to no less, their squares to ever less by a fixed ratio."""
    schedule = schedules.RobbinsMonro(1.0, power=power)
    blocks = [np.arange(2**i, 2 ** (i + 1), dtype=np.int64) for i in range(10, 17)]
    rates = [schedule(block).numpy().astype(np.float64) for block in blocks]
    sums = np.array([block.sum() for block in rates])
    squares = np.array([(block**2).sum() for block in rates])
    assert (sums[1:] / sums[:-1] > 0.999).all()
    np.testing.assert_allclose(squares[1:] / squares[:-1], 2 ** (1 - 2 * power), rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.LinearDecay(0.0, 10), r"LinearDecay\(initial=0.0\): expected .*initial > 0"),
        (lambda: schedules.LinearDecay(float("nan"), 10), r"LinearDecay\(initial=nan\)"),
        (lambda: schedules.LinearDecay(0.1, 0), r"LinearDecay\(tau=0\): expected .*tau > 0"),
        (lambda: schedules.LinearDecay(0.1, 10, final=0.0), r"final=0.0.*rate zero one cannot tell"),
        (lambda: schedules.LinearDecay(0.1, 10, final=-1.0), r"final=-1.0"),
        (lambda: schedules.LinearDecay(0.1, 10, final=0.2), r"0 < final <= initial"),
        (lambda: schedules.LinearDecay(0.1, 10, final="low"), r"final='low'"),
        (lambda: schedules.RobbinsMonro(-0.1), r"RobbinsMonro\(initial=-0.1\)"),
        (lambda: schedules.RobbinsMonro(0.1, tau=0), r"RobbinsMonro\(tau=0\)"),
        (lambda: schedules.RobbinsMonro(0.1, power=0.5), r"power=0.5.*squared rates is infinite"),
        (lambda: schedules.RobbinsMonro(0.1, power=1.01), r"power=1.01.*sum of all rates is finite"),
        (lambda: schedules.RobbinsMonro(0.1, power="fast"), r"power='fast'"),
    ],
)
def test_refuses_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
