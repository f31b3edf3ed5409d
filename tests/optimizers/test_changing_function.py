"""Line searches on a function that is another one at each evaluation, as with a new minibatch every step."""

import itertools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.optimizers._descent import Phase
from tfopt.optimizers.newton import NewtonStep
from tfopt.optimizers.newton_cg import TruncatedNewton

SCALES = np.float32([1.0, 3.0, 10.0])
START = np.float32([2.0, -1.0, 1.5])
SEARCHED = {
    "LBFGS": tfopt.LBFGS,
    "LBFGS, backtracking": lambda: tfopt.LBFGS(line_search="backtracking"),
    "LBFGS, exact": lambda: tfopt.LBFGS(line_search="exact"),
    "BFGS": tfopt.BFGS,
    "ConjugateGradient": tfopt.ConjugateGradient,
    "SteepestDescent": tfopt.SteepestDescent,
    "BlockCoordinateDescent": lambda: tfopt.BlockCoordinateDescent(tfopt.LBFGS(), steps_per_block=3),
}
CURVED = {
    "Newton": tfopt.Newton,
    "Newton, damped": lambda: tfopt.Newton(damping=1.0),
    "Newton, saddle-free": lambda: tfopt.Newton(solver="saddle_free"),
    "NewtonCG": tfopt.NewtonCG,
    "NewtonCG, damped": lambda: tfopt.NewtonCG(damping=1.0),
}


def bowl(x):
    return tf.reduce_sum(SCALES * x**2)


def descend(optimizer, evaluations, function):
    """Evaluate ``function(x, k)`` that often; the iterate where it ends, and the phases on the way."""
    weight, states = walk(optimizer, evaluations, function)
    return weight.numpy(), [state["phase"] for state in states]


def walk(optimizer, evaluations, function):
    """The same: the weights, and the scalars of the state after each evaluation."""
    weight, states = keras.Variable(START), []
    for k in range(evaluations):
        with tf.GradientTape() as tape:
            loss = function(weight.value, k)
        optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(loss, [weight.value]), [weight])
        scalars = [slot.name for slot in optimizer.machine.slots if slot.scalar]
        states.append({name: float(optimizer.state_value(name)) for name in scalars})
    optimizer.to_evaluation_weights()
    return weight, states


@pytest.mark.parametrize("make", SEARCHED.values(), ids=SEARCHED)
def test_values_that_scatter_do_not_hold_a_search_up(make):
    """The gradient is exact, so that whoever does not believe in the values alone gets to the minimum."""
    offsets = np.random.default_rng(0).uniform(0.0, 5.0, 200).astype(np.float32)
    optimizer = make()
    found, phases = descend(optimizer, 200, lambda x, k: bowl(x) + offsets[k])
    assert bowl(found) < 1e-3 * bowl(START)
    assert Phase.DOUBT in phases
    assert 1.0 < float(optimizer.state_value("discord")) < 5.0
    assert "came out different, by" in optimizer.result.message


@pytest.mark.parametrize("make", SEARCHED.values(), ids=SEARCHED)
def test_a_function_that_stays_is_compared_to_its_last_digit(make):
    optimizer = make()
    found, phases = descend(optimizer, 100, lambda x, k: bowl(x))
    assert bowl(found) < 1e-8 * bowl(START)
    assert Phase.DOUBT not in phases
    assert float(optimizer.state_value("discord")) == 0.0


def test_steps_that_were_shortened_by_mistake_become_long_again():
    """By a step as at the start where the function is found to change, and twice the usual one after."""
    offsets = np.random.default_rng(0).uniform(0.0, 5.0, 100).astype(np.float32)
    _, states = walk(tfopt.SteepestDescent(0.01), 100, lambda x, k: bowl(x) + offsets[k])
    anew, longer = 0, 0
    for before, after in itertools.pairwise(states):
        gg = -after["slope"]  # along −g
        if before["phase"] == Phase.DOUBT and after["discord"] > 0.0:
            assert after["search_step"] == pytest.approx(0.01 * min(1.0 / np.sqrt(gg), 1.0))
            anew += 1
        elif after["iterations"] > before["iterations"] and before["discord"] > 0.0:
            usual = before["search_step"] * before["slope"] / after["slope"]
            assert after["search_step"] == pytest.approx(2.0 * usual)
            longer += 1
    assert anew >= 1
    assert longer >= 5


@pytest.mark.parametrize("void", [True, False])
def test_trust_that_was_lost_by_mistake_is_given_back(void):
    """What the model of the function was held to have promised was another function's."""
    number = lambda value: tf.constant(value, tf.float64)  # noqa: E731
    # Each step is held to have promised ten times what it gave.
    move = types.SimpleNamespace(
        step=number(1.0),
        learning_rate=number(1.0),
        last_slope=number(-20.0),
        last_direction=tf.constant([1.0, 0.0]),
        decrease=number(1.0),
        precision=1e-7,
        fresh=tf.constant(False),
        void=tf.constant(void),
    )
    state = {"bend": 20.0, "trusted": 1.0, "value": 1.0, "radius": 1e-6, "damping": 1e6, "scale": 1.0}
    state = {name: number(value) for name, value in state.items()}
    radius = TruncatedNewton("adaptive", 50, 3.0)._radius(move, state)
    damping = NewtonStep("adaptive", "cholesky", 100)._adapted(move, state)
    assert (float(radius), float(damping)) == ((3.0, 0.0) if void else (0.25, 4e6))


def wall(x, k):
    return bowl(x) + tf.where(x[0] < 1.9, 50.0, 0.0)


def test_a_wall_is_asked_about_once():
    """A function may look as if it changed; the point that is evaluated once more has its value of before."""
    optimizer = tfopt.LBFGS()
    found, phases = descend(optimizer, 60, wall)
    assert found[0] >= 1.9
    assert phases.count(Phase.DOUBT) == 1
    assert float(optimizer.state_value("discord")) == -1.0
    assert wall(found, 0) < bowl(START)


def test_minimize_takes_a_function_at_its_word():
    """It is the same one by definition, and each evaluation counts."""
    for method in ("LBFGS", "SteepestDescent"):
        found = tfopt.minimize(lambda x: wall(x, 0), START, method=method, max_evaluations=100)
        assert found.status in (tfopt.Status.CONVERGED, tfopt.Status.STALLED, tfopt.Status.MAX_EVALUATIONS)
        assert found.fun < bowl(START)


def sine(seed):
    x = np.random.default_rng(seed).normal(size=(256, 5)).astype("float32")
    return x, np.sin(x.sum(1, keepdims=True))


def network(optimizer, seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(8, activation) for activation in ("tanh", "relu", None)]
    layers[-1].units = 1
    model = keras.Sequential([keras.Input((5,)), *layers])
    model.compile(optimizer, "mse")
    return model


TRAINED = [
    pytest.param(make, id=name, marks=() if name in ("NewtonCG", "SteepestDescent") else pytest.mark.slow)
    for name, make in (SEARCHED | CURVED).items()
]


@pytest.mark.parametrize("make", TRAINED)
def test_a_new_batch_every_step_trains_for_as_long_as_it_is_given(make):
    """Without knowing of the batches methods stop after an epoch or two."""
    x, y = sine(2)
    model = network(make(), 2)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(256, seed=3).batch(32).repeat()
    watch = {"validation_data": (x, y), "callbacks": [tfopt.callbacks.EvaluationWeights()], "verbose": 0}
    losses = model.fit(batches, steps_per_epoch=60, epochs=8, **watch).history["val_loss"]
    assert np.mean(losses[4:]) < np.mean(losses[:4])
    assert losses[-1] < 0.95 * losses[0]
    assert max(losses) < 1.5 * np.var(y)
