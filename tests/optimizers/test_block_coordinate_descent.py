"""BlockCoordinateDescent: what moves and what does not, whose turn it is, line searches inside a block."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

import tfopt

FIRST_ORDER = {
    "sgd": lambda: tfopt.SGD(0.05, fused=False),
    "adam": lambda: tfopt.Adam(0.02, fused=False),
    "nesterov": lambda: tfopt.Nesterov(0.05, momentum=0.5, fused=False),
    "nadam": lambda: tfopt.NAdam(0.02, form="lookahead", fused=False),
    "swats": lambda: tfopt.AdamThenSGD(0.02, switch_at=3),
}
SEARCHES = {
    "lbfgs": lambda: tfopt.LBFGS(history=4),
    "bfgs": lambda: tfopt.BFGS(),
    "cg": lambda: tfopt.ConjugateGradient(),
    "steepest": lambda: tfopt.SteepestDescent(),
}
EVERY = FIRST_ORDER | SEARCHES
QUICK = {("lbfgs", 3)}  # the others take minutes together, and run with the slow tests

RNG = np.random.default_rng(7)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3)) + RNG.normal(size=(32, 3))).argmax(1)


def blocks_around(inner, blocks="layer", *arguments, **options):
    return tfopt.BlockCoordinateDescent(inner, blocks, *arguments, **options)


def model_with(optimizer, dtype="float32", **options):
    keras.utils.set_random_seed(3)
    sizes = {"low": (5, "tanh"), "middle": (4, "tanh"), "top": (3, None)}
    layers = [keras.layers.Dense(n, a, name=name, dtype=dtype) for name, (n, a) in sizes.items()]
    model = keras.Sequential([keras.Input((6,)), *layers], name="net")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)
    # Keras hands the sum of losses over in this precision, whatever the model's.
    keras.config.set_floatx("float64" if dtype == "float64" else "float32")
    try:
        model.compile(optimizer, loss, **{"jit_compile": False} | options)
    finally:
        keras.config.set_floatx("float32")
    return model


def train(model, steps, seen=None, x=X, y=Y, callbacks=()):
    """That many train steps on the full batch; `seen` is called after each."""
    batches = tf.data.Dataset.from_tensors((x, y)).repeat()
    watch = [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen())] if seen else []
    return model.fit(batches, steps_per_epoch=steps, verbose=0, callbacks=[*watch, *callbacks])


def rows_of(optimizer):
    """The state that belongs to single variables."""
    return {key: v.numpy() for key, v in optimizer.named_state() if key[1]}


def changes(model, steps):
    """For each train step the layers whose weights or slots changed, with what they hold."""
    log, last = [], {}

    def now():
        weights = {("weight", w.path): w.numpy() for w in model.trainable_variables}
        return weights | rows_of(model.optimizer)

    def note():
        current = now()
        log.append({path.split("/")[-2] for (s, path), v in current.items() if (v != last[s, path]).any()})
        last.update(current)

    model.optimizer.build(model.trainable_variables)
    last.update(now())
    train(model, steps, note)
    return log


def held_weights(model):
    return np.concatenate([w.numpy().ravel() for w in model.trainable_variables])


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


# -- what moves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["sgd", "adam", "swats"])
def test_only_one_block_and_its_slots_move(inner):
    model = model_with(blocks_around(FIRST_ORDER[inner](), steps_per_block=2))
    assert changes(model, 8) == [{name} for name in ("low", "low", "middle", "middle", "top", "top")] + [
        {"low"},
        {"low"},
    ]


@pytest.mark.parametrize("inner", SEARCHES.values(), ids=SEARCHES)
def test_a_search_moves_one_block(inner):
    """The trial of the next block is in the variables before its evaluation; two blocks change at a turn."""
    model = model_with(blocks_around(inner(), steps_per_block=2))
    optimizer, log = model.optimizer, []
    iterates = lambda: {p: v.numpy() for p, v in pieces(optimizer, model).items()}  # noqa: E731
    optimizer.build(model.trainable_variables)
    state, last = [], {}

    def note():
        current = iterates()
        if last:
            log.append({p.split("/")[-2] for p, v in current.items() if (v != last[p]).any()})
        last.update(current)
        state.append((optimizer.state_value("block"), optimizer.state_value("iterations")))

    train(model, 100, note)
    assert {len(names) for names in log} == {0, 1}  # a rejected trial, or one block
    moved = [next(iter(names)) for names in log if names]
    assert moved[:8] == ["low"] * 2 + ["middle"] * 2 + ["top"] * 2 + ["low"] * 2
    assert len(moved) == state[-1][1] >= 12


def pieces(optimizer, model):
    """The iterate in the state, cut into the model's variables."""
    (vector,) = [v for (slot, _), v in optimizer.named_state() if slot == "iterate"]
    sizes = [int(np.prod(v.shape)) for v in model.trainable_variables]
    parts = tf.split(tf.convert_to_tensor(vector.value), sizes)
    return {v.path: part for v, part in zip(model.trainable_variables, parts, strict=True)}


def test_frozen_weights_neither_decay_nor_are_constrained():
    """MaxNorm shrinks by rounding each time it is applied, decay by 1 − λε."""
    inner = tfopt.SGD(0.1, weight_decay=0.5)
    optimizer = blocks_around(inner, ["a", "b"], steps_per_block=3)
    weights = [keras.Variable(RNG.normal(size=7), dtype="float32", name=n) for n in "ab"]
    for weight in weights:
        weight.constraint = keras.constraints.MaxNorm(0.7, axis=0)
    frozen = weights[1].numpy()
    for _ in range(3):
        optimizer.apply([tf.ones(7)] * 2, weights)
        np.testing.assert_array_equal(weights[1], frozen)
    assert np.linalg.norm(weights[0]) <= 0.7 + 1e-6
    moved = weights[0].numpy()
    optimizer.apply([tf.zeros(7)] * 2, weights)
    np.testing.assert_array_equal(weights[0], moved)
    shrunk = frozen * 0.95
    np.testing.assert_allclose(weights[1], shrunk * 0.7 / np.linalg.norm(shrunk), rtol=1e-5)


def test_weights_without_a_gradient_are_left_alone():
    weights = [keras.Variable([1.0], name=n) for n in ("a_used", "a_unused", "b")]
    optimizer = blocks_around(tfopt.Adam(0.1), ["^a", "^b"])
    for _ in range(3):
        with pytest.warns(UserWarning, match="a_unused"):
            optimizer.apply([tf.ones(1), None, tf.ones(1)], weights)
    np.testing.assert_allclose([w.numpy()[0] for w in weights], [0.8, 1.0, 0.9], rtol=1e-6)


# -- against the same by hand -------------------------------------------------------------------------


@pytest.mark.parametrize("inner", FIRST_ORDER.values(), ids=FIRST_ORDER)
@pytest.mark.parametrize("steps", [1, 3])
def test_equals_an_optimizer_for_each_block(inner, steps, drive, least_squares):
    """Each block counts its own updates; outside its turn it holds its iterate, not a look-ahead point."""

    def gradients(weights):
        theta = np.concatenate([np.ravel(w) for w in weights])
        kernel, bias = np.split(least_squares.gradient(0, theta), [6])
        return [tf.constant(kernel.reshape(3, 2)), tf.constant(bias)]

    def fresh():
        kernel, bias = np.split(least_squares.theta, [6])
        return [
            keras.Variable(p, dtype="float64", name=n)
            for n, p in (("kernel", kernel.reshape(3, 2)), ("bias", bias))
        ]

    together, apart = fresh(), fresh()
    optimizer, own = blocks_around(inner(), ["kernel", "bias"], steps_per_block=steps), [inner(), inner()]
    for k in range(20):
        optimizer.apply(gradients(together), together)
        block = k // steps % 2
        own[block].to_training_weights()
        own[block].apply([gradients(apart)[block]], [apart[block]])
        own[block].to_evaluation_weights()
        optimizer.to_evaluation_weights()
        for a, b in zip(together, apart, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        optimizer.to_training_weights()
    assert np.abs(held(together) - least_squares.theta).min() > 1e-3


def held(weights):
    return np.concatenate([np.ravel(w.numpy()) for w in weights])


def inner_and_order():
    """All of them; of the searches one is quick, in one order."""
    for order in ("cyclic", "greedy"):
        for name in EVERY:
            quick = name in FIRST_ORDER or (name, order) == ("lbfgs", "cyclic")
            yield pytest.param(name, order, marks=() if quick else pytest.mark.slow, id=f"{name}-{order}")


@pytest.mark.parametrize(("inner", "order"), list(inner_and_order()))
def test_one_block_is_the_inner_optimizer(inner, order):
    """With enough steps to the turn a search keeps its history."""
    make = EVERY[inner]
    alone, around = model_with(make()), model_with(blocks_around(make(), ["."], 1000, order))
    for model in (alone, around):
        train(model, 25)
    # TensorFlow rounds longer sums in another order where the graph around them is another.
    allowed = 5e-7 if inner in ("nadam", "nesterov") else 0.0
    for a, b in zip(around.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=allowed)


@pytest.mark.parametrize(
    ("inner", "steps"),
    [
        pytest.param(
            inner, steps, marks=() if (name, steps) in QUICK else pytest.mark.slow, id=f"{steps}-{name}"
        )
        for name, inner in SEARCHES.items()
        for steps in (1, 3)
    ],
)
def test_turns_of_a_search_equal_searches_started_anew(inner, steps):
    """`minimize` on one block after the other, each stopped after as many iterates.

    The loss is large, for where a gradient is shorter than 1 only a run's very first trial is longer.
    """
    x64 = X.astype("float64")
    model = model_with(blocks_around(inner(), steps_per_block=steps), "float64", loss_weights=1e3)
    weights = [w.numpy() for w in model.trainable_variables]
    iterates, count = [], [0.0]

    def note():
        if model.optimizer.state_value("iterations") > count[0]:
            count[0] = model.optimizer.state_value("iterations")
            iterates.append(np.concatenate([v.numpy() for v in pieces(model.optimizer, model).values()]))

    train(model, 120, note, x=x64)
    turns = min(5, len(iterates) // steps)
    assert turns >= 4
    for turn in range(turns):
        block = slice(2 * (turn % 3), 2 * (turn % 3) + 2)

        def loss(part, block=block):
            kernels = [*weights[: block.start], *part, *weights[block.stop :]]
            h = tf.tanh(x64 @ kernels[0] + kernels[1])
            h = tf.tanh(h @ kernels[2] + kernels[3])
            logits = h @ kernels[4] + kernels[5]
            return 1e3 * tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(Y, logits))

        found = tfopt.minimize(
            loss, weights[block], inner(), 0.0, callback=lambda result: result.iterations == steps
        )
        weights[block] = [w.numpy() for w in found.x]
        flat = np.concatenate([w.ravel() for w in weights])
        np.testing.assert_allclose(iterates[(turn + 1) * steps - 1], flat, rtol=1e-6, atol=1e-9)


# -- whose turn it is ---------------------------------------------------------------------------------


def moved_blocks(optimizer, gradients, count=3):
    """Which of `count` variables of one element each moved, update by update."""
    weights = [keras.Variable([0.0], name=f"w{i}") for i in range(count)]
    order = []
    for row in gradients:
        before = held(weights)
        optimizer.apply([tf.constant([float(g)]) for g in row], weights)
        (moved,) = np.flatnonzero(held(weights) != before)
        order.append(int(moved))
    return order


ONES = np.ones((150, 3))


def test_cyclic_order_is_the_order_of_the_list():
    optimizer = blocks_around(tfopt.SGD(0.1), ["w2", "w0", "w1"], steps_per_block=2)
    assert moved_blocks(optimizer, ONES[:8]) == [2, 2, 0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_random_order_is_reproducible_and_fair():
    draw = lambda seed: moved_blocks(blocks_around(tfopt.SGD(0.1), order="random", seed=seed), ONES)  # noqa: E731
    first, again, other = draw(1), draw(1), draw(2)
    assert first == again != other
    assert (np.bincount(first) > 33).all()
    pairs = np.bincount(3 * np.array(first[:-1]) + first[1:], minlength=9)
    assert (pairs > 5).all()


def test_greedy_takes_the_largest_gradient():
    table = RNG.normal(size=(30, 3))
    optimizer = blocks_around(tfopt.SGD(0.1), order="greedy")
    assert moved_blocks(optimizer, table) == np.abs(table).argmax(1).tolist()


def test_greedy_compares_norms_of_whole_blocks_when_a_turn_begins():
    optimizer = blocks_around(tfopt.SGD(0.1), [["w0", "w1"], ["w2"]], 2, "greedy")
    weights = [keras.Variable(np.zeros(4), name=f"w{i}") for i in range(3)]
    for sizes, moves in (((1, 1, 1.3), (0, 1)), ((0, 0, 5), (0, 1)), ((1, 1, 1.5), (2,)), ((9, 9, 1), (2,))):
        before = [w.numpy() for w in weights]
        optimizer.apply([tf.fill((4,), float(s)) for s in sizes], weights)
        assert all((weights[i].numpy() != before[i]).all() for i in moves if sizes[i])
        assert all((weights[i].numpy() == before[i]).all() for i in range(3) if i not in moves)


def test_greedy_with_a_search_leaves_a_block_that_gains_nothing():
    """Its gradient stays the largest, but no step along it lowers the loss."""
    optimizer = blocks_around(tfopt.SteepestDescent(line_search="backtracking"), ["a", "b"], order="greedy")
    a, b = (keras.Variable([1.0], name=n) for n in "ab")
    optimizer.build([a, b])

    @tf.function
    def step():
        optimizer.scale_loss(tf.abs(a.value[0] - 1.0) + 0.5 * tf.square(b.value[0]))
        optimizer.apply([tf.constant([10.0]), tf.identity(b.value)], [a, b])  # a, at its minimum, has none

    for _ in range(200):
        step()
    optimizer.to_evaluation_weights()
    assert float(a[0]) == pytest.approx(1.0, abs=1e-4)
    assert abs(float(b[0])) < 1e-3


# -- running ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "order"),
    [
        ("nesterov", "cyclic"),
        ("nesterov", "random"),
        ("nesterov", "greedy"),
        pytest.param("lbfgs", "random", marks=pytest.mark.slow),
        pytest.param("lbfgs", "cyclic", marks=pytest.mark.slow),
        pytest.param("lbfgs", "greedy", marks=pytest.mark.slow),
    ],
)
def test_saved_in_the_middle_training_goes_on_bit_equal(inner, order, tmp_path):
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras", save_freq=9)
    make = lambda: blocks_around(EVERY[inner](), steps_per_block=2, order=order, seed=4)  # noqa: E731
    through, stopped = model_with(make()), model_with(make())
    train(through, 20)
    train(stopped, 9, callbacks=[checkpoint])
    again = keras.saving.load_model(tmp_path / "model.keras")
    train(again, 11)
    assert_equal(again.get_weights(), through.get_weights())


def test_a_seed_that_was_drawn_is_part_of_the_state(tmp_path):
    model = model_with(blocks_around(tfopt.SGD(0.1), order="random"))
    train(model, 2)
    model.save(tmp_path / "model.keras")
    keras.utils.set_random_seed(8)
    again = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, again):
        train(one, 12)
    assert_equal(again.get_weights(), model.get_weights())


@pytest.mark.parametrize(
    ("inner", "order"),
    [
        ("adam", "random"),
        ("adam", "greedy"),
        pytest.param("lbfgs", "greedy", marks=pytest.mark.slow),
        pytest.param("lbfgs", "random", marks=pytest.mark.slow),
    ],
)
def test_jit_takes_the_same_path(inner, order):
    models = [
        model_with(blocks_around(EVERY[inner](), order=order, seed=4), "float64", jit_compile=jit)
        for jit in (False, True)
    ]
    for model in models:
        train(model, 15, x=X.astype("float64"))
    for plain, compiled in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-7)


@pytest.mark.parametrize("inner", ["nesterov", pytest.param("lbfgs", marks=pytest.mark.slow)])
def test_replicas_take_the_step_of_one_device(inner, strategy):
    make = lambda: blocks_around(EVERY[inner](), steps_per_block=2, order="greedy")  # noqa: E731
    alone = model_with(make(), "float64")
    with strategy.scope():
        model = model_with(make(), "float64")
    for one in (alone, model):
        train(one, 30, x=X.astype("float64"))
    for a, b in zip(alone.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    for variable in (*model.trainable_variables, *model.optimizer.variables):
        first, second = (np.asarray(v) for v in strategy.experimental_local_results(variable.value))
        np.testing.assert_array_equal(first, second)


def test_digits_train_layer_by_layer_with_lbfgs():
    x, y = load_digits(return_X_y=True)
    x, y = (x[:600] / 16.0).astype("float32"), y[:600]
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(32, "tanh"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    optimizer = blocks_around(tfopt.LBFGS(), steps_per_block=5)
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    values = []
    train(model, 150, lambda: values.append(float(optimizer.state_value("value"))), x, y)
    assert (np.diff(values) <= 1e-6 * np.abs(values[:-1])).all()
    loss, accuracy = model.evaluate(x, y, batch_size=600, verbose=0)
    assert loss == pytest.approx(values[-1], rel=1e-4)
    assert loss < 0.05
    assert accuracy > 0.99


def evaluated(optimizer, weights, loss):
    """One evaluation, eagerly."""
    natives = [weight.value for weight in weights]
    with tf.GradientTape() as tape:
        value = loss(natives)
    optimizer.scale_loss(value)
    optimizer.apply(tape.gradient(value, natives), weights)


def test_the_result_is_that_of_all_blocks():
    """An evaluation whose point is one block's end and the next one's start counts once."""
    root = np.random.default_rng(0).normal(size=(4, 4))
    matrix = root @ root.T + 2 * np.eye(4)

    def loss(parts):
        x = tf.concat(parts, axis=0)
        return 0.5 * tf.tensordot(x, tf.linalg.matvec(matrix, x), 1) - tf.reduce_sum(x)

    optimizer = blocks_around(tfopt.ConjugateGradient(tolerance=1e-2), ["a", "b"], steps_per_block=2)
    weights = [keras.Variable(np.zeros(2), dtype="float64", name=name) for name in "ab"]
    assert optimizer.result is None
    statuses = []
    for count in range(1, 41):
        evaluated(optimizer, weights, loss)
        result = optimizer.result
        x = np.concatenate(result.x)
        steep = np.abs(matrix @ x - 1.0).max()
        assert result.fun == pytest.approx(float(loss(result.x)), rel=1e-12, abs=1e-12)
        assert result.grad_norm == pytest.approx(steep, rel=1e-9)
        assert (result.evaluations, result.products) == (count, 0)
        assert (result.status is tfopt.Status.CONVERGED) == (steep <= 1e-2)
        statuses.append(result.status)
    assert statuses == sorted(statuses, key=[tfopt.Status.RUNNING, tfopt.Status.CONVERGED].index)
    assert {tfopt.Status.RUNNING, tfopt.Status.CONVERGED} == set(statuses)


def test_a_loss_that_is_not_finite_is_told():
    optimizer = blocks_around(tfopt.SteepestDescent(), ["a"])
    evaluated(optimizer, [keras.Variable([-1.0], name="a")], lambda x: tf.reduce_sum(tf.math.log(x[0])))
    assert optimizer.result.status is tfopt.Status.NOT_FINITE


def test_progress_shows_the_loss_of_the_iterate():
    model, seen = model_with(blocks_around(tfopt.SteepestDescent(line_search="backtracking"))), []
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    train(model, 30, callbacks=[tfopt.callbacks.EvaluationWeights(), look])
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == model.optimizer.result.fun < seen[0]


def test_a_first_order_method_has_no_result():
    optimizer = blocks_around(tfopt.SGD(0.1), ["a"])
    evaluated(optimizer, [keras.Variable([1.0], name="a")], lambda x: tf.reduce_sum(x[0]))
    assert optimizer.result is None


@pytest.mark.parametrize("inner", ["nesterov", "lbfgs"])
def test_configuration_round_trip(inner):
    made = blocks_around(EVERY[inner](), [("low", "net/top/kernel"), ("bias",)], 4, "random", seed=3)
    again = keras.optimizers.get(keras.optimizers.serialize(made))
    assert again.get_config() == made.get_config()
    assert (again.blocks, again.steps_per_block) == ([["low", "net/top/kernel"], ["bias"]], 4)


# -- blocks -------------------------------------------------------------------------------------------


def test_layers_are_blocks_and_bare_variables_by_themselves():
    paths = ["net/lstm/cell/kernel", "net/lstm/cell/bias", "net/top/kernel", "free", "other", "net/top/bias"]
    assert tfopt.optimizers._blocks.blocks_of("layer", paths) == [[0, 1], [2, 5], [3], [4]]


def test_expressions_and_names_find_their_variables():
    paths = ["net/low/kernel", "net/low/bias", "net/below/kernel"]
    blocks_of = tfopt.optimizers._blocks.blocks_of
    assert blocks_of(["bias$", "kernel$"], paths) == [[1], [0, 2]]
    assert blocks_of([["low/bias", "net/below/kernel"], ["low/kernel"]], paths) == [[1, 2], [0]]


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (["low", "middle"], "every variable in a block, net/top/kernel is in none"),
        (["low", "middle|top", "kernel"], "do not overlap; net/low/kernel is in 'low', 'kernel'"),
        (["low", "middle", "top", "bottom"], "'bottom'.*expression that fits a variable"),
        ([["low/kernel", "low/weight"]], "'low/weight'.*path of a variable, or its end"),
        ([["kernel"]], "fits one variable, not net/low/kernel, net/middle/kernel, net/top/kernel"),
        ([["low/kernel", "low/kernel"]], "do not overlap"),
    ],
    ids=str,
)
@pytest.mark.parametrize("inner", ["sgd", "lbfgs"])
def test_blocks_that_do_not_fit_the_model_are_refused_when_it_is_known(blocks, message, inner):
    model = model_with(blocks_around(EVERY[inner](), blocks))
    with pytest.raises(ValueError, match=rf"BlockCoordinateDescent\(blocks=.*{message}"):
        train(model, 1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("blocks", "layers"),
        ("blocks", []),
        ("blocks", [[]]),
        ("blocks", ["low", ["top"]]),
        ("blocks", [1]),
        ("blocks", [[1]]),
        ("blocks", None),
        ("steps_per_block", 0),
        ("steps_per_block", 1.5),
        ("order", "sorted"),
        ("seed", -1),
        ("inner", "adam"),
        ("inner", tfopt.PolyakAverage(tfopt.SGD())),
        ("inner", tfopt.SGD(use_ema=True)),
        ("clipnorm", 1.0),
    ],
)
def test_refuses_bad_arguments(argument, value, assert_refuses):
    others = {} if argument == "inner" else {"inner": tfopt.SGD()}
    assert_refuses(tfopt.BlockCoordinateDescent, argument, value, **others)


def test_refuses_an_expression_that_is_none():
    with pytest.raises(ValueError, match="regular expressions on variable paths"):
        blocks_around(tfopt.SGD(), ["("])
