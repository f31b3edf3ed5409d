"""Direction methods in `fit`: one train step is one evaluation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import Status

METHODS = {
    "LBFGS": lambda **o: tfopt.LBFGS(history=4, **o),
    "BFGS": lambda **o: tfopt.BFGS(**o),
    "ConjugateGradient": lambda **o: tfopt.ConjugateGradient(restart_every=30, **o),
    "SteepestDescent": lambda **o: tfopt.SteepestDescent(**o),
    "Newton": lambda **o: tfopt.Newton(**o),
    "NewtonCG": lambda **o: tfopt.NewtonCG(max_cg=6, **o),
    "CoordinateDescent": lambda **o: tfopt.CoordinateDescent(**o),
}
EXACT = {"exact": lambda **o: tfopt.ConjugateGradient(beta="exact", restart_every=30, **o)}
EACH = pytest.mark.parametrize("make", (METHODS | EXACT).values(), ids=METHODS | EXACT)
# One without curvature, one without history, one with products; with the others it takes minutes more.
QUICK = ("LBFGS", "ConjugateGradient", "NewtonCG")
SOME_AND_SLOW_OTHERS = pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, make in (METHODS | EXACT).items()
    ],
)
CURVED = ("Newton", "NewtonCG", "CoordinateDescent", "exact")

RNG = np.random.default_rng(7)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3)) + RNG.normal(size=(48, 3))).argmax(1)


def model_with(optimizer, dtype="float32", **compile_options):
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((6,)),
        *(keras.layers.Dense(n, a, dtype=dtype) for n, a in ((5, "tanh"), (3, None))),
    ]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)
    # Keras hands the sum of losses over in this precision, whatever the model's.
    keras.config.set_floatx("float64" if dtype == "float64" else "float32")
    try:
        model.compile(optimizer, loss, **{"jit_compile": False} | compile_options)
    finally:
        keras.config.set_floatx("float32")
    return model


def train(model, evaluations=40, x=X, y=Y, batches=1, **options):
    """That many train steps, on the full batch as so many batches."""
    parts = tf.data.Dataset.from_tensor_slices((x, y)).batch(len(x) // batches, drop_remainder=True)
    return model.fit(parts.repeat(), steps_per_epoch=evaluations * batches, verbose=0, **options)


def weights_of(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


def loss_of(model):
    return model.evaluate(X, Y, batch_size=len(X), verbose=0)


@EACH
def test_the_index_has_a_row_for_each(make):
    assert set(METHODS) == set(tfopt.optimizers.DIRECTION_METHODS)
    made = make(name="method")
    again = keras.optimizers.get(keras.optimizers.serialize(made))
    assert type(again) is type(made)
    assert again.get_config() == made.get_config()


@SOME_AND_SLOW_OTHERS
def test_fit_and_minimize_take_the_same_path(make):
    """Two drivers of one machine."""
    model = model_with(make(), dtype="float64")
    start = [w.numpy() for w in model.trainable_weights]
    train(model, 12, X.astype("float64"))

    def loss(weights):
        kernel, bias, top, shift = weights
        logits = tf.tanh(X.astype("float64") @ kernel + bias) @ top + shift
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(Y, logits))

    found = tfopt.minimize(loss, start, method=make(), tol=0.0, max_evaluations=12)
    np.testing.assert_allclose(
        weights_of(model), np.concatenate([np.ravel(w) for w in found.x]), rtol=1e-7, atol=1e-9
    )
    seen = model.optimizer.result
    assert seen.evaluations == found.evaluations == 12
    assert (seen.iterations, seen.products, seen.status) == (found.iterations, found.products, Status.RUNNING)


@SOME_AND_SLOW_OTHERS
def test_jit_takes_the_same_path(make):
    plain, compiled = (model_with(make(), "float64", jit_compile=jit) for jit in (False, True))
    for model in (plain, compiled):
        train(model, 12, X.astype("float64"))
    np.testing.assert_allclose(weights_of(compiled), weights_of(plain), rtol=1e-8)


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "jit"])
@SOME_AND_SLOW_OTHERS
def test_several_steps_an_execution_are_as_many_single_steps(make, jit):
    single, several = (
        model_with(make(), "float64", jit_compile=jit, steps_per_execution=steps) for steps in (1, 4)
    )
    for model in (single, several):
        train(model, 12, X.astype("float64"))
    assert several.optimizer.result.evaluations == 12
    np.testing.assert_allclose(weights_of(several), weights_of(single), rtol=1e-8)


def train_until(model, iterations, **options):
    """To that many iterates. Asked of several batches or replicas, curvature takes train steps of its own."""

    def look(batch, logs):
        if model.optimizer.state_value("iterations") >= iterations:
            model.stop_training = True

    stop = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    train(model, 600, X.astype("float64"), callbacks=[stop], **options)
    assert model.optimizer.result.iterations == iterations


@SOME_AND_SLOW_OTHERS
def test_replicas_take_the_step_of_one_device(make, strategy):
    """40 evaluations; to 1e-5, and the replicas equal each other to the bit."""
    alone = model_with(make(), "float64")
    train(alone, 40, X.astype("float64"))
    with strategy.scope():
        model = model_with(make(), "float64")
    if model.optimizer.machine.curvature:
        train_until(model, alone.optimizer.result.iterations)
    else:
        train(model, 40, X.astype("float64"))
    np.testing.assert_allclose(weights_of(model), weights_of(alone), rtol=1e-5, atol=1e-7)
    for weight in model.trainable_weights:
        first, second = (np.asarray(v) for v in strategy.experimental_local_results(weight.value))
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@SOME_AND_SLOW_OTHERS
def test_accumulated_batches_are_the_full_batch(make):
    whole, parts = model_with(make(), "float64"), model_with(make(gradient_accumulation_steps=4), "float64")
    train(whole, 12, X.astype("float64"))
    train_until(parts, whole.optimizer.result.iterations, batches=4)
    np.testing.assert_allclose(weights_of(parts), weights_of(whole), rtol=1e-6, atol=1e-8)


def test_a_shorter_last_batch_counts_for_less():
    whole, parts = (
        model_with(tfopt.LBFGS(gradient_accumulation_steps=steps), "float64") for steps in (None, 3)
    )
    x = X.astype("float64")
    train(whole, 12, x)
    batches = tf.data.Dataset.from_tensor_slices((x, Y)).batch(20)  # 20, 20 and 8 samples
    parts.fit(tfopt.data.full_batch(batches), steps_per_epoch=36, verbose=0)
    np.testing.assert_allclose(weights_of(parts), weights_of(whole), rtol=1e-6, atol=1e-8)


@SOME_AND_SLOW_OTHERS
def test_saved_in_mid_search_training_goes_on_bit_equal(make, tmp_path):
    broken = model_with(make())
    train(broken, 17)
    broken.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for model in (broken, again):
        train(model, 14)
    np.testing.assert_array_equal(weights_of(again), weights_of(broken))


def test_a_second_fit_with_evaluation_weights_goes_on_as_one():
    callback = [tfopt.callbacks.EvaluationWeights()]
    straight, twice = (model_with(tfopt.LBFGS()) for _ in range(2))
    train(straight, 40, callbacks=callback)
    for evaluations in (17, 23):
        train(twice, evaluations, callbacks=callback)
    np.testing.assert_array_equal(weights_of(twice), weights_of(straight))


# Fits of one step, on purpose.
TOO_SHORT = pytest.mark.filterwarnings("ignore:.*no step was completed")


@TOO_SHORT
@SOME_AND_SLOW_OTHERS
def test_a_second_fit_starts_from_what_the_first_showed(make):
    """Without EvaluationWeights the weights hold the iterate, which is evaluated once more."""
    model = model_with(make(), "float64")
    for _ in range(6):
        train(model, 5, X.astype("float64"))
        before = model.optimizer.result
        train(model, 1, X.astype("float64"))
        after = model.optimizer.result
        assert after.fun <= before.fun
    slots = dict(model.optimizer.named_state())
    if ("pairs", "") in slots:
        assert slots["pairs", ""].numpy() > 1


def test_progress_and_history_show_the_loss_of_the_iterate():
    seen = []
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    model = model_with(tfopt.LBFGS())
    history = train(model, 30, callbacks=[tfopt.callbacks.EvaluationWeights(), look])
    assert seen == sorted(seen, reverse=True)
    assert history.history["loss"] == [model.optimizer.result.fun]
    assert loss_of(model) == pytest.approx(model.optimizer.result.fun, rel=1e-5)


def test_before_the_first_pass_the_history_shows_no_loss_of_an_iterate_that_is_not_there():
    model = model_with(tfopt.LBFGS(gradient_accumulation_steps=4))
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(12).repeat()
    first = tfopt.callbacks.EvaluationWeights()
    losses = model.fit(batches, epochs=3, steps_per_epoch=2, callbacks=[first], verbose=0).history["loss"]
    assert min(losses) > 0.0
    assert losses[1] == losses[2] == model.optimizer.result.fun


@TOO_SHORT
def test_passes_that_were_broken_off_are_no_evaluations():
    """Between two fits the batches so far are given up: two passes of 4 in 12 train steps."""
    model = model_with(tfopt.LBFGS(gradient_accumulation_steps=4))
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(12).repeat()
    model.fit(batches, steps_per_epoch=3, verbose=0)
    assert model.optimizer.result is None
    for _ in range(2):
        model.fit(batches, steps_per_epoch=6, verbose=0)
    assert model.optimizer.result.evaluations == 2


def test_passes_for_a_product_are_no_evaluations():
    model = model_with(tfopt.NewtonCG(max_cg=3, gradient_accumulation_steps=2))
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(24).repeat()
    model.fit(batches, steps_per_epoch=24, verbose=0)
    result = model.optimizer.result
    assert result.products > result.evaluations > 1
    assert result.evaluations + result.products == 12


def vectors_of(optimizer, n=400):
    """The state in vectors of the size of all weights; what does not grow with them counts for nothing."""
    optimizer.build([keras.Variable(tf.zeros(n))])
    sizes = [int(np.prod(v.shape)) for _, v in optimizer.named_state()]
    return sum(size // n for size in sizes)


# What the docstrings say; n is 400.
MEMORY = {
    "LBFGS": (lambda **o: tfopt.LBFGS(history=7, **o), 2 * 7 + 3, 1),
    "BFGS": (tfopt.BFGS, 400 + 3, 1),
    "ConjugateGradient": (tfopt.ConjugateGradient, 3, 1),
    "exact": (lambda **o: tfopt.ConjugateGradient(beta="exact", **o), 4, 2),
    "SteepestDescent": (tfopt.SteepestDescent, 3, 1),
    "Newton": (tfopt.Newton, 4, 400 + 1),
    "NewtonCG": (tfopt.NewtonCG, 6, 2),
    "CoordinateDescent": (tfopt.CoordinateDescent, 3, 2),
    "line_search": (lambda **o: tfopt.CoordinateDescent(step="line_search", **o), 3, 1),
}


@pytest.mark.parametrize(("make", "vectors", "more"), MEMORY.values(), ids=MEMORY)
def test_the_state_takes_the_memory_that_is_documented(make, vectors, more):
    assert vectors_of(make()) == vectors
    assert vectors_of(make(gradient_accumulation_steps=2)) == vectors + more


def test_the_result_tells_how_the_run_stands():
    optimizer = tfopt.LBFGS(tolerance=1e-2)
    model = model_with(optimizer)
    assert optimizer.result is None
    train(model, 7)
    result = optimizer.result
    assert (result.status, result.evaluations, result.products) == (Status.RUNNING, 7, 0)
    assert 0 < result.iterations < 7
    np.testing.assert_array_equal(np.concatenate([np.ravel(part) for part in result.x]), weights_of(model))
    train(model, 60)
    assert optimizer.result.status is Status.CONVERGED
    assert optimizer.result.grad_norm <= 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVED)
def test_products_are_counted_and_need_a_graph(name):
    make = (METHODS | EXACT)[name]
    model = model_with(make())
    train(model, 6)
    assert model.optimizer.result.products >= model.optimizer.result.iterations > 0
    with pytest.raises(ValueError, match="run_eagerly"):
        train(model_with(make(), run_eagerly=True), 1)


def test_a_scaled_loss_makes_no_difference():
    plain, scaled = (model_with(tfopt.NewtonCG(loss_scale_factor=f), "float64") for f in (None, 64.0))
    for model in (plain, scaled):
        train(model, 6, X.astype("float64"))
    np.testing.assert_allclose(weights_of(scaled), weights_of(plain), rtol=1e-9)


def test_the_model_holds_the_best_iterate_when_fit_ends():
    optimizer = tfopt.LBFGS()
    model = model_with(optimizer)
    for evaluations in (1, 2, 3, 5):
        train(model, evaluations)
        assert loss_of(model) == pytest.approx(float(optimizer.state_value("value")), rel=1e-5)


@pytest.mark.parametrize("name", ["LBFGS", "BFGS", "ConjugateGradient", "Newton", "NewtonCG"])
def test_more_than_adam_reaches_with_five_times_the_evaluations(name):
    """On labels that can be learnt: with noise in them, which local minimum a start leads to decides."""
    labels = (X @ np.sin(np.arange(18.0)).reshape(6, 3)).argmax(1)
    model, adam = model_with(METHODS[name]()), model_with(keras.optimizers.Adam(0.02))
    train(model, 80, y=labels)
    train(adam, 400, y=labels)
    assert model.evaluate(X, labels, verbose=0) < adam.evaluate(X, labels, verbose=0)


@EACH
def test_changing_batches_train_and_do_not_diverge(make):
    """A new batch every step: values of different functions, among which nothing can be searched."""
    model = model_with(make())
    before = loss_of(model)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48, seed=1).batch(16).repeat()
    model.fit(batches, steps_per_epoch=200, verbose=0)
    assert np.isfinite(weights_of(model)).all()
    assert loss_of(model) < 0.9 * before


def test_the_same_batch_several_times_is_searched():
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(24).repeat()
    model = model_with(tfopt.LBFGS())
    before = loss_of(model)
    model.fit(tfopt.data.repeat_each(batches, 8), steps_per_epoch=160, verbose=0)
    assert loss_of(model) < 0.7 * before


def test_bfloat16_weights_keep_a_float32_state_and_train():
    model = model_with(tfopt.LBFGS(), dtype="bfloat16")
    assert {w.dtype for w in model.trainable_weights} == {"bfloat16"}
    before = loss_of(model)
    train(model, 60)
    slots = dict(model.optimizer.named_state())
    assert slots["iterate", ""].dtype == "float32"
    assert loss_of(model) < 0.7 * before


def test_a_tolerance_ends_the_motion():
    optimizer = tfopt.LBFGS(tolerance=1e-2)
    model = model_with(optimizer)
    train(model, 60)
    reached = weights_of(model)
    train(model, 5)
    np.testing.assert_array_equal(weights_of(model), reached)
    assert optimizer.state_value("phase") == 2.0


def test_a_loss_scaled_outside_is_refused():
    model = model_with(keras.optimizers.LossScaleOptimizer(tfopt.LBFGS()))
    with pytest.raises(ValueError, match="bfloat16"):
        train(model, 1)


def test_a_model_compiled_without_a_loss_is_refused():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile(tfopt.LBFGS(), metrics=["mae"])
    with pytest.raises(ValueError, match="loss"):
        train(model, 1, y=X[:, :1])


@EACH
def test_a_model_without_trainable_weights_is_refused(make):
    model = model_with(make())
    model.trainable = False
    with pytest.raises(ValueError, match="trainable weights, got none"):
        train(model, 1)


def test_a_loop_without_the_loss_is_told_how():
    weight = keras.Variable([1.0])
    optimizer = tfopt.LBFGS()
    with pytest.raises(ValueError, match="scale_loss"):
        optimizer.apply([tf.constant([1.0])], [weight])
    optimizer.scale_loss(tf.constant(0.5))
    optimizer.apply([tf.constant([1.0])], [weight])


@pytest.mark.parametrize(
    "option",
    [
        {"weight_decay": 0.1},
        {"clipnorm": 1.0},
        {"use_ema": True},
        {"learning_rate_multipliers": {"kernel": 0.1}},
        {"skip_nonfinite": True},
    ],
    ids=str,
)
def test_options_that_change_the_function_or_do_what_a_search_does_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        tfopt.LBFGS(**option)


@pytest.mark.parametrize("loss", [tf.ones(3), tf.ones(1), tf.constant(1), tf.constant(1j)], ids=str)
def test_a_loss_that_is_no_real_scalar_is_refused(loss):
    optimizer = tfopt.LBFGS()
    optimizer.scale_loss(loss)
    with pytest.raises(ValueError, match=r"LBFGS: expected a real scalar as the loss"):
        optimizer.apply([tf.ones(2)], [keras.Variable([1.0, 2.0])])


def step_of(gradients):
    """A train step of two weights with a loss of 1."""
    weights, optimizer = [keras.Variable([1.0], name=name) for name in ("used", "unused")], tfopt.LBFGS()
    optimizer.scale_loss(tf.constant(1.0))
    optimizer.apply(gradients, weights)
    return weights, optimizer


def test_without_any_gradient_nothing_has_converged():
    with pytest.raises(ValueError, match="No gradients provided"):
        step_of([None, None])


def test_missing_gradients_are_named_and_count_as_zeros():
    with pytest.warns(UserWarning, match="unused"):
        weights, optimizer = step_of([tf.constant([1.0]), None])
    assert float(weights[0][0]) < 1.0 == float(weights[1][0])
    assert optimizer.result.grad_norm == 1.0


def test_weights_that_are_not_real_are_refused():
    weight = keras.Variable([1.0 + 2.0j], dtype="complex64", name="wave")
    with pytest.raises(ValueError, match="LBFGS: expected variables of real numbers, got complex64 for wave"):
        tfopt.LBFGS().build([weight])


def test_constraints_are_refused():
    weight = keras.Variable([1.0])
    weight.constraint = keras.constraints.NonNeg()
    with pytest.raises(ValueError, match="constraint"):
        tfopt.LBFGS().build([weight])


def test_too_many_weights_are_refused_by_name():
    with pytest.raises(ValueError, match="LBFGS"):
        tfopt.BFGS(max_parameters=10).build([keras.Variable(tf.zeros(11))])


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: tfopt.LBFGS(history=0), "history"),
        (lambda: tfopt.LBFGS(scale="newest"), "scale"),
        (lambda: tfopt.LBFGS(tolerance=-1.0), "tolerance"),
        (lambda: tfopt.ConjugateGradient(beta="exact_ly"), "beta"),
        (lambda: tfopt.ConjugateGradient(restart_every=0), "restart_every"),
        (lambda: tfopt.BFGS(max_parameters=0), "max_parameters"),
    ],
)
def test_bad_arguments_are_named(make, part):
    with pytest.raises(ValueError, match=part):
        make()


def test_fits_too_short_for_a_step_are_told_of(recwarn):
    """One evaluation each, of the same iterate; the callback keeps the trial point."""
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.ones((8, 1))
    losses = {}
    for callbacks in ((), (tfopt.callbacks.EvaluationWeights(),)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh"), keras.layers.Dense(1)])
        model.compile(tfopt.LBFGS(), "mse", jit_compile=False)
        recwarn.clear()
        fit = lambda: model.fit(x, y, batch_size=8, verbose=0, callbacks=list(callbacks))  # noqa: E731, B023
        losses[bool(callbacks)] = [fit().history["loss"][0] for _ in range(4)]
        told = [str(w.message) for w in recwarn if "no step was completed" in str(w.message)]
        assert bool(told) is not bool(callbacks)
        assert all("EvaluationWeights" in text for text in told)
    assert len(set(losses[False])) == 1
    assert losses[True][-1] < losses[True][0]
