"""Saved state: keyed by slot and path; what does not fit is refused whole and by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

X = np.linspace(-1, 1, 24).reshape(8, 3).astype("float32")
Y = X.sum(1, keepdims=True)


class Store(dict):
    """What Keras hands to save_own_variables: keys and values, nothing else promised."""


def model_of(*units, names=None, optimizer=None):
    layers = [keras.layers.Dense(u, name=names and names[k]) for k, u in enumerate(units)]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, name=names and "out")])
    model.compile(optimizer or tfopt.Adam(0.1), "mse")
    return model


def trained(*args, **options):
    model = model_of(*args, **options)
    model.fit(X, Y, epochs=2, verbose=0)
    return model


def saved(model):
    store = Store()
    model.optimizer.save_own_variables(store)
    return store


def values(optimizer):
    return {key: v.numpy() for key, v in optimizer.named_state()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key, value in left.items():
        np.testing.assert_array_equal(value, right[key])


def refused(model, store, *words):
    """Loading raises, names every one of `words`, and changes nothing."""
    model.optimizer.build(model.trainable_variables)
    before = values(model.optimizer)
    with pytest.raises(ValueError, match="nothing was loaded") as error:
        model.optimizer.load_own_variables(store)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert_same(before, values(model.optimizer))


def test_state_is_found_by_path_in_any_order():
    """Two layers of one shape: by position they would be exchanged."""
    source = trained(3, 3, names=["a", "b"])
    store = saved(source)
    backwards = Store((f"{len(store) - int(k[:6]):06d}{k[6:]}", v) for k, v in store.items())
    target = model_of(3, 3, names=["a", "b"])
    target.optimizer.build(target.trainable_variables)
    target.optimizer.load_own_variables(backwards)
    source_values = {(s, p.split("/", 1)[-1]): v for (s, p), v in values(source.optimizer).items()}
    target_values = {(s, p.split("/", 1)[-1]): v for (s, p), v in values(target.optimizer).items()}
    assert_same(source_values, target_values)


def test_state_of_a_model_built_anew_is_found_though_layers_were_renamed():
    source = trained(4, 2)
    target = model_of(4, 2)
    target.optimizer.build(target.trainable_variables)
    target.optimizer.load_own_variables(saved(source))
    for left, right in zip(source.optimizer.variables, target.optimizer.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_state_loaded_before_building_is_kept_until_then():
    source = trained(4, names=["a"])
    fresh = tfopt.Adam(0.1)
    fresh.load_own_variables(saved(source))
    fresh.build(source.trainable_variables)
    assert_same(values(source.optimizer), values(fresh))


@pytest.mark.parametrize("make", [tfopt.SGD, tfopt.LBFGS, lambda: tfopt.PolyakAverage(tfopt.Momentum(0.1))])
def test_state_loaded_before_building_that_does_not_fit_is_refused_each_time(make):
    optimizer, weights = make(), [keras.Variable([1.0], name="a")]
    optimizer.load_own_variables(saved(trained(4, names=["a"])))
    before = list(optimizer.variables)
    for _ in range(2):
        with pytest.raises(ValueError, match="nothing was loaded"):
            optimizer.apply([tf.ones(1)], weights)
        assert not optimizer.built
        assert all(left is right for left, right in zip(before, optimizer.variables, strict=True))
    assert weights[0].numpy() == [1.0]


def test_every_fit_with_state_that_does_not_fit_is_refused():
    model = model_of(4, names=["a"], optimizer=tfopt.SGD(0.1))
    model.optimizer.load_own_variables(saved(trained(4, names=["a"])))
    for _ in range(2):
        with pytest.raises(ValueError, match="nothing was loaded"):
            model.fit(X, Y, verbose=0)


def test_after_state_that_did_not_fit_comes_one_that_does():
    fresh, source = (model_of(4, names=["a"]) for _ in range(2))
    fresh.optimizer.load_own_variables(saved(trained(4, names=["a"], optimizer=tfopt.SGD(0.1))))
    with pytest.raises(ValueError, match="missing"):
        fresh.fit(X, Y, verbose=0)
    source.fit(X, Y, epochs=2, verbose=0)
    fresh.optimizer.load_own_variables(saved(source))
    fresh.optimizer.build(source.trainable_variables)
    assert_same(values(source.optimizer), values(fresh.optimizer))
    assert len(fresh.optimizer.variables) == len(source.optimizer.variables)


def test_state_loaded_before_building_can_be_saved_again():
    store = saved(trained(4, names=["a"]))
    fresh, again = tfopt.Adam(0.1), Store()
    fresh.load_own_variables(store)
    fresh.save_own_variables(again)
    assert_same(store, again)


BEFORE_BUILDING = {
    "rule": lambda: tfopt.Adam(0.1),
    "slots that do not start at 0": lambda: tfopt.DeltaBarDelta(0.1),
    "method": tfopt.LBFGS,
    "average": lambda: tfopt.PolyakAverage(tfopt.Momentum(0.1)),
    "options": lambda: tfopt.Adam(0.1, use_ema=True, gradient_accumulation_steps=2, skip_nonfinite=True),
    "schedule": lambda: tfopt.Nesterov(tfopt.schedules.LinearDecay(0.1, 10)),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(tfopt.Adam(0.1)),
}


@pytest.mark.parametrize("kind", BEFORE_BUILDING)
def test_a_compiled_model_that_never_trained_is_saved_and_loaded(kind, tmp_path):
    """By Keras' own functions; then it trains as the original does."""
    model = model_of(4, names=["a"], optimizer=BEFORE_BUILDING[kind]())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for left, right in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", BEFORE_BUILDING)
def test_weights_saved_before_training_are_a_start_before_and_after_it(kind, tmp_path):
    model = model_of(4, names=["a"], optimizer=BEFORE_BUILDING[kind]())
    model.save_weights(tmp_path / "start.weights.h5")
    ends = []
    for _ in range(2):
        model.load_weights(tmp_path / "start.weights.h5")
        model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for left, right in zip(*ends, strict=True):
        np.testing.assert_array_equal(left, right)


def test_weights_of_one_name_are_told_apart():
    weights = [keras.Variable(np.ones(2), name="w") for _ in range(2)]
    assert weights[0].path == weights[1].path
    optimizer, other = tfopt.Adam(0.1), tfopt.Adam(0.1)
    optimizer.apply([keras.ops.ones(2), keras.ops.zeros(2)], weights)
    store = Store()
    optimizer.save_own_variables(store)
    other.build(weights)
    other.load_own_variables(store)
    assert_same(values(optimizer), values(other))
    np.testing.assert_allclose(values(other)["momentum", "w"], 0.1 * np.ones(2), rtol=1e-6)
    np.testing.assert_array_equal(values(other)["momentum", "w#2"], np.zeros(2))


def test_counter_of_skipped_steps_may_come_or_go():
    for options in ({}, {"skip_nonfinite": True}):
        source = trained(4, names=["a"], optimizer=tfopt.Adam(0.1, **options))
        target = model_of(4, names=["a"], optimizer=tfopt.Adam(0.1, skip_nonfinite=not options))
        target.optimizer.build(target.trainable_variables)
        target.optimizer.load_own_variables(saved(source))
        assert int(target.optimizer.iterations.numpy()) == 2


def test_another_architecture_is_refused():
    refused(
        model_of(4, 2, names=["a", "b"]), saved(trained(4, names=["a"])), "missing", "momentum of", "b/kernel"
    )


def test_another_shape_is_refused():
    refused(
        model_of(5, names=["a"]), saved(trained(4, names=["a"])), "a/kernel has shape (3, 5), saved (3, 4)"
    )


def test_another_optimizer_is_refused():
    store = saved(trained(4, names=["a"], optimizer=tfopt.Momentum(0.1)))
    refused(model_of(4, names=["a"]), store, "Adam:", "missing: momentum of")


def test_a_sum_of_squares_is_not_taken_for_a_mean():
    """Both have one slot per weight; they must not share its name."""
    store = saved(trained(4, names=["a"], optimizer=tfopt.AdaGrad(0.1)))
    refused(
        model_of(4, names=["a"], optimizer=tfopt.RMSProp(0.1)),
        store,
        "missing: square of",
        "unknown: square_sum of",
    )


def lbfgs_of(*units, names):
    """A model whose optimizer keeps all weights as one vector."""
    return model_of(*units, names=names, optimizer=tfopt.LBFGS(history=2))


@pytest.mark.parametrize(
    ("units", "others", "words"),
    [
        ((1, 4), (2, 2), ["a/kernel has shape (3, 2), saved (3, 1)"]),
        ((2, 3), (4,), ["unknown:", "shape of", "b/kernel"]),
    ],
)
def test_a_vector_of_as_many_weights_of_other_shapes_is_refused(units, others, words):
    source, target = (lbfgs_of(*sizes, names=["a", "b"]) for sizes in (units, others))
    assert source.count_params() == target.count_params()
    source.fit(X, Y, epochs=2, verbose=0, batch_size=8)
    refused(target, saved(source), *words)


def test_a_vector_in_another_order_is_refused():
    source, target = (lbfgs_of(3, 3, names=names) for names in (["a", "b"], ["b", "a"]))
    source.fit(X, Y, epochs=2, verbose=0, batch_size=8)
    store = saved(source)
    refused(target, Store((k.replace(source.name, target.name), v) for k, v in store.items()), "order is")


def test_a_vector_is_found_though_layers_were_renamed():
    source, target = lbfgs_of(4, 2, names=["a", "b"]), lbfgs_of(4, 2, names=["c", "d"])
    source.fit(X, Y, epochs=2, verbose=0, batch_size=8)
    target.optimizer.build(target.trainable_variables)
    target.optimizer.load_own_variables(saved(source))
    for left, right in zip(source.optimizer.variables, target.optimizer.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    assert float(source.optimizer.state_value("value")) > 0


def test_a_schedule_in_place_of_a_rate_is_named():
    schedule = tfopt.schedules.LinearDecay(0.1, 10)
    refused(
        model_of(4, names=["a"]),
        saved(trained(4, names=["a"], optimizer=tfopt.Adam(schedule))),
        "learning_rate",
    )


def test_state_of_a_keras_optimizer_is_refused():
    model = trained(4, names=["a"], optimizer=keras.optimizers.Adam(0.1))
    store = saved(model)
    target = model_of(4, names=["a"])
    target.optimizer.build(target.trainable_variables)
    with pytest.raises(ValueError, match="expected state saved by a tfopt optimizer"):
        target.optimizer.load_own_variables(store)


def test_weights_file_that_does_not_fit_raises(tmp_path):
    """Through Keras' own loading, where a mismatch of the optimizer is a warning for its own classes."""
    source = trained(4, names=["a"], optimizer=tfopt.Momentum(0.1))
    source.save_weights(tmp_path / "w.weights.h5")
    target = trained(4, names=["a"])
    with pytest.raises(ValueError, match=r"missing: momentum of .*a/kernel"):
        target.load_weights(tmp_path / "w.weights.h5")


def test_file_of_weights_alone_leaves_the_state_as_it_is(tmp_path):
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    plain.save_weights(tmp_path / "w.weights.h5")
    target = trained(4)
    before = values(target.optimizer)
    target.load_weights(tmp_path / "w.weights.h5")
    assert_same(before, values(target.optimizer))
    for ours, theirs in zip(target.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("order", [1, -1])
def test_weights_shown_are_known_again_in_any_order(order):
    """By their paths: one of them holds its training point, the other's waits in the state."""
    make = lambda: tfopt.PolyakAverage(tfopt.SGD(0.5))  # noqa: E731
    names = ("a", "b")
    source, target = ([keras.Variable(np.ones(2) * (1 + len(n)), name=n) for n in names] for _ in range(2))
    optimizer, other = make(), make()
    for _ in range(2):
        optimizer.apply([keras.ops.ones(2), keras.ops.ones(2) * 2], source)
    optimizer.to_evaluation_weights()
    optimizer.to_training_weights(source[:1])
    store = Store()
    optimizer.save_own_variables(store)
    for ours, theirs in zip(target, source, strict=True):
        ours.assign(theirs)
    other.build(target[::order])
    other.load_own_variables(store)
    for left, variables in ((optimizer, source), (other, target)):
        left.to_training_weights()
        np.testing.assert_array_equal(variables[0], np.ones(2))
        np.testing.assert_array_equal(variables[1], np.zeros(2))


def test_counter_of_skipped_steps_that_does_not_come_is_none():
    source = trained(4, names=["a"])
    target = model_of(4, names=["a"], optimizer=tfopt.Adam(0.1, skip_nonfinite=True))
    target.fit(X, Y * np.nan, verbose=0)
    assert target.optimizer.skipped_steps == 1
    target.optimizer.load_own_variables(saved(source))
    assert target.optimizer.skipped_steps == 0


def frozen(make):
    """A model, and it with its first layer frozen under the same optimizer, trained before and after."""
    model = make()
    model.fit(X, Y, epochs=2, verbose=0)
    model.layers[-3].trainable = False
    model.compile(model.optimizer, "mse")
    model.fit(X, Y, epochs=2, verbose=0)
    return model


def functional_of(*units, names, optimizer):
    x = inputs = keras.Input((3,))
    for name, u in zip((*names, "out"), (*units, 1), strict=True):
        x = keras.layers.Dense(u, name=name)(x)
    model = keras.Model(inputs, x)
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("kind", [model_of, functional_of])
def test_a_model_that_froze_layers_is_loaded_and_goes_on(kind, tmp_path, caplog):
    """Keras builds the optimizer that it loads for the weights that are still trained."""
    make = lambda: kind(4, 3, names=["a", "b"], optimizer=tfopt.PolyakAverage(tfopt.Momentum(0.1)))  # noqa: E731
    model = frozen(make)
    model.save(tmp_path / "m.keras")
    anew = make()
    anew.layers[-3].trainable = False
    anew.compile(anew.optimizer, "mse")
    anew.load_weights(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert "a/kernel" in caplog.text
    assert "b/kernel" not in caplog.text
    for one in (model, loaded, anew):
        one.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for ours, *others in zip(*(one.get_weights() for one in (model, loaded, anew)), strict=True):
        for theirs in others:
            np.testing.assert_array_equal(ours, theirs)
