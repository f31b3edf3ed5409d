"""CommonRandomNumbers: one function for a whole search, another when it is time, as it was afterwards."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

import tfopt
from tfopt.callbacks import _glue
from tfopt.optimizers._descent import Phase

IMAGES, LABELS = load_digits(return_X_y=True)
X, Y = (IMAGES[:300] / 16.0).astype("float32"), LABELS[:300]
SEARCHES = {
    "lbfgs": lambda **o: tfopt.LBFGS(**o),
    "cg": lambda **o: tfopt.ConjugateGradient(**o),
    "blocks": lambda **o: tfopt.BlockCoordinateDescent(tfopt.LBFGS(**o), steps_per_block=3),
}


def model_with(optimizer, **options):
    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.GaussianNoise(0.05),
        keras.layers.Dense(16, "tanh"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(10),
    ]
    model = keras.Sequential([keras.Input((64,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **{"jit_compile": False} | options)
    return model


class Watch(keras.callbacks.Callback):
    """Notes the iterate's loss and number after each train step."""

    def __init__(self):
        super().__init__()
        self.values, self.iterations = [], []

    def on_train_batch_end(self, batch, logs=None):
        read = self.model.optimizer.state_value
        self.values.append(float(read("value")))
        self.iterations.append(float(read("iterations")))


def train(model, steps, *callbacks, epochs=1, batches=1, **options):
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(len(X) // batches).repeat()
    count = steps * batches
    return model.fit(data, epochs=epochs, steps_per_epoch=count, verbose=0, callbacks=[*callbacks], **options)


def common(renew=None):
    return tfopt.callbacks.CommonRandomNumbers(renew)


def falls(values):
    """Whether no value is above the one before, but for what float32 makes of a sum."""
    return (np.diff(values) <= 1e-6 * np.abs(values[:-1])).all()


def states(model):
    return [generator.state.numpy() for generator in _glue.seed_generators(model)]


def weights_of(model):
    return np.concatenate([w.numpy().ravel() for w in model.trainable_variables])


# -- one function -------------------------------------------------------------------------------------


def test_the_loss_at_one_point_is_one_number():
    still = tfopt.SGD(1e-30)
    steps = dict(epochs=6)
    assert len(set(train(model_with(still), 1, **steps).history["loss"])) == 6
    assert len(set(train(model_with(tfopt.SGD(1e-30)), 1, common(), **steps).history["loss"])) == 1


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name == "lbfgs" else pytest.mark.slow)
        for name, make in SEARCHES.items()
    ],
)
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "jit"])
def test_the_loss_falls_from_iterate_to_iterate(make, jit):
    model, watch = model_with(make(), jit_compile=jit), Watch()
    train(model, 60, common(), watch)
    assert falls(watch.values)
    assert watch.iterations[-1] > 25
    assert watch.values[-1] < 0.15 * watch.values[0]


@pytest.mark.slow
def test_without_it_the_search_compares_different_functions():
    """Then the loss of the iterate goes up and down, and the same evaluations reach less."""
    with_it, without = Watch(), Watch()
    train(model_with(tfopt.LBFGS()), 60, common(), with_it)
    train(model_with(tfopt.LBFGS()), 60, without)
    assert with_it.values[-1] < 0.5 * without.values[-1]
    assert with_it.iterations[-1] > 1.5 * without.iterations[-1] or np.max(np.diff(without.values)) > 0.01


def test_an_evaluation_of_several_batches_draws_different_masks_for_each():
    optimizer = tfopt.LBFGS(gradient_accumulation_steps=3)
    model, watch, seen = model_with(optimizer), Watch(), []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(states(model)[0])
    )
    train(model, 20, common(), watch, note, batches=3)
    assert len(np.unique(seen, axis=0)) == 3
    np.testing.assert_array_equal(seen[:3], seen[-3:])
    assert falls(watch.values[2:])  # from the end of the first pass on
    assert watch.iterations[-1] > 5


# -- renewal ------------------------------------------------------------------------------------------


def held_states(renew, steps, epochs):
    model, seen, watch = model_with(tfopt.LBFGS()), [], Watch()
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(states(model)[0])
    )
    train(model, steps, common(renew), note, watch, epochs=epochs)
    return seen, watch


def test_renewed_at_the_start_of_each_epoch():
    seen, watch = held_states("epoch", 8, 3)
    assert len(np.unique(seen, axis=0)) == 3
    assert all((seen[i] == seen[i - i % 8]).all() for i in range(24))
    for first in (8, 16):  # the iterate is evaluated anew under the new numbers, and kept as the first one
        assert watch.iterations[first] == watch.iterations[first - 1]
        assert watch.values[first] != watch.values[first - 1]


def test_never_renewed():
    seen, _ = held_states(None, 8, 3)
    assert len(np.unique(seen, axis=0)) == 1


def test_renewed_after_so_many_iterates():
    seen, watch = held_states(5, 40, 1)
    changed = [i for i in range(1, 40) if (seen[i] != seen[i - 1]).any()]
    counts = [watch.iterations[i - 1] for i in changed]
    assert counts == list(np.arange(5.0, watch.iterations[-1] + 1, 5.0))
    assert len(counts) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("make", SEARCHES.values(), ids=SEARCHES)
def test_the_iterate_is_evaluated_first_after_a_renewal(make):
    """The loss of the first step of an epoch is the loss of the weights that the epoch before has left."""
    model, points = model_with(make()), []

    class Points(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.to_evaluation_weights()
            points.append(weights_of(self.model))
            self.model.optimizer.to_training_weights()

        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0:
                points.append(weights_of(self.model))

    train(model, 7, common("epoch"), Points(), epochs=4)
    start, *rest = points
    for shown, begun in zip(rest[0::2][:-1], rest[1::2], strict=True):
        np.testing.assert_array_equal(begun, shown)
    assert np.abs(start - rest[-1]).max() > 1e-2


@pytest.mark.slow
def test_renewal_goes_well_with_evaluation_weights_in_either_order():
    finals = []
    for first in (True, False):
        model = model_with(tfopt.LBFGS())
        shown, numbers = tfopt.callbacks.EvaluationWeights(), common("epoch")
        order = [shown, numbers] if first else [numbers, shown]
        train(model, 9, *order, epochs=3, validation_data=(X, Y))
        finals.append(weights_of(model))
    np.testing.assert_array_equal(*finals)


def test_a_restart_moves_to_the_iterate():
    optimizer = tfopt.LBFGS()
    model = model_with(optimizer)
    optimizer.restart()  # nothing to forget yet
    optimizer.build(model.trainable_variables)
    before = weights_of(model)
    optimizer.restart()
    np.testing.assert_array_equal(weights_of(model), before)
    train(model, 12, common())
    optimizer.to_training_weights()
    trial = weights_of(model)
    optimizer.restart()
    restarted = weights_of(model)
    assert (trial != restarted).any()
    assert optimizer.state_value("phase") == Phase.START
    optimizer.to_evaluation_weights()
    np.testing.assert_array_equal(weights_of(model), restarted)


def test_weights_shown_before_the_first_evaluation_are_the_start():
    model = model_with(tfopt.LBFGS())
    model.optimizer.build(model.trainable_variables)
    before = weights_of(model)
    for switch in (model.optimizer.to_evaluation_weights, model.optimizer.to_training_weights):
        switch()
        np.testing.assert_array_equal(weights_of(model), before)


# -- what is left alone -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_generators_go_on_afterwards():
    model, numbers = model_with(tfopt.LBFGS()), common()
    before = states(model)
    train(model, 5, numbers)
    after = states(model)
    once = model_with(tfopt.LBFGS())
    train(once, 1)
    for a, b, c in zip(before, after, states(once), strict=True):
        assert (a != b).any()
        np.testing.assert_array_equal(b, c)  # five evaluations, one draw


def test_a_second_fit_takes_new_numbers_and_starts_anew():
    model, first, second, seen = model_with(tfopt.LBFGS()), Watch(), Watch(), []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(states(model)[0])
    )
    train(model, 10, common(), first, note)
    train(model, 10, common(), second, note)
    assert len(np.unique(seen, axis=0)) == 2
    assert second.iterations[0] == first.iterations[-1]
    assert falls(second.values)


def test_validation_is_as_without_it():
    """At equal weights, though a layer there draws numbers in inference too."""

    class Always(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(5)

        def call(self, x):
            return x + 0.01 * keras.random.normal((64,), seed=self.generator)

    still = keras.Sequential([keras.Input((64,)), Always(), keras.layers.Dense(10)])
    still.compile(tfopt.SGD(1e-30), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    numbers = common()
    losses = train(still, 1, numbers, epochs=4, validation_data=(X, Y), validation_batch_size=300).history
    assert len(set(losses["loss"])) == 1
    model = model_with(tfopt.SGD(0.1))
    seen = train(model, 4, common(), validation_data=(X, Y)).history["val_loss"][-1]
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(seen, rel=1e-6)


def test_any_optimizer_of_keras_may_be_held():
    model = model_with(keras.optimizers.Adam(1e-30))
    history = train(model, 1, common(), epochs=3).history["loss"]
    assert len(set(history)) == 1


@pytest.mark.slow
def test_replicas_hold_the_same_numbers(strategy):
    with strategy.scope():
        model = model_with(tfopt.LBFGS())
    watch = Watch()
    train(model, 25, common("epoch"), watch, epochs=2)
    for part in (watch.values[:25], watch.values[25:]):
        assert falls(part)
    assert watch.iterations[-1] > 15


# -- private hooks and bad arguments ------------------------------------------------------------------


def test_flatten_layers_and_seed_generators_find_every_generator():
    """`_flatten_layers` reaches nested models, `_seed_generators` holds what a layer tracked."""
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.1, seed=1)])
    recurrent = keras.layers.LSTM(3, dropout=0.1, recurrent_dropout=0.1)
    layers = [inner, keras.layers.Reshape((2, 2)), recurrent, keras.layers.GaussianNoise(0.1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    named = [v for v in model.variables if "seed_generator_state" in v.path]
    found = {id(generator.state) for generator in _glue.seed_generators(model)}
    assert found == {id(v) for v in named}
    assert len(found) >= 3


def test_iterations_of_the_optimizer_count_every_train_step():
    """`_iterations` does, `iterations` those that end an accumulation."""
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    weight = keras.Variable(1.0)
    for _ in range(3):
        optimizer.apply([tf.constant(1.0)], [weight])
    assert _glue.train_steps(optimizer) == 3
    assert int(optimizer.iterations) == 1


@pytest.mark.parametrize("renew", ["batch", 0, -1, 1.5, True])
def test_refuses_bad_arguments(renew, assert_names):
    assert_names(lambda: tfopt.callbacks.CommonRandomNumbers(renew=renew), f"renew={renew!r}")


@pytest.fixture
def assert_names():
    def check(make, part):
        with pytest.raises(ValueError) as caught:
            make()
        assert str(caught.value).startswith(f"CommonRandomNumbers({part}): expected ")

    return check


def test_refuses_several_steps_to_an_execution(assert_names):
    model = model_with(tfopt.LBFGS(), steps_per_execution=2)
    assert_names(lambda: train(model, 2, common()), "steps_per_execution=2")


@pytest.mark.parametrize("optimizer", [tfopt.Adam, keras.optimizers.Adam])
def test_refuses_to_count_iterates_where_there_are_none(optimizer, assert_names):
    assert_names(lambda: train(model_with(optimizer()), 2, common(3)), "renew=3")
