"""Bundles: many variables as one resource, in every kind of graph, in order with whoever else uses them."""

import gc
import itertools
import pathlib
import resource
import threading
import time
import types
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import _bundle, _glue
from tfopt.kernels._bundle import bundle_of

SIZE = 1000
ROUNDS = 20

pytestmark = pytest.mark.usefixtures("loaded")


def compared(optimizer):
    """Its state but for checksums of weights, which differ where the weights do in their last digit."""
    return [v for (slot, _), v in optimizer.named_state() if slot != "shown"]


@pytest.fixture
def make(loaded):
    """The op that makes a bundle."""
    return loaded.kernels["sgd"].ops.tfopt_bundle


class Counter:
    """Momentum 1, rate 1, gradient 1: after k updates the velocity is −k, the weight −k(k+1)/2."""

    def __init__(self, weight=None, **options):
        always = keras.optimizers.schedules.PolynomialDecay(1.0, 1, 1.0)
        self.weight = keras.Variable(tf.zeros(SIZE)) if weight is None else weight
        self.optimizer = tfopt.Momentum(1.0, always, **options)
        self.optimizer.build([self.weight])

    @property
    def velocity(self):
        """The slot."""
        return self.optimizer.named_state()[2][1].value

    def update(self, scale=1.0):
        self.optimizer.apply([tf.fill([SIZE], scale)], [self.weight])


def ops_in(function, *arguments):
    """Types of all operations of a function's graph and of the functions it calls."""
    definition = function.get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return [node.op for node in nodes]


def spread(value):
    """The one number that all elements are; a read between two halves of an update would show two."""
    assert tf.reduce_min(value) == tf.reduce_max(value)
    return float(value[0])


def test_velocity_is_what_the_tests_take_it_for():
    counter = Counter()
    counter.update()
    assert spread(counter.velocity) == -1.0
    assert "velocity" in counter.optimizer.named_state()[2][0]


# -- Order within a graph --------------------------------------------------------------------------------


def straight(counter, read):
    before = read()
    counter.update()
    between = read()
    counter.update()
    return before, between, read()


def in_a_branch(counter, read):
    before = read()
    tf.cond(tf.constant(1) + tf.size(before) > 0, lambda: _updated(counter), lambda: True)
    between = read()
    tf.cond(tf.size(between) > 0, lambda: _updated(counter), lambda: True)
    return before, between, read()


def all_in_a_branch(counter, read):
    values = tf.TensorArray(tf.float32, 3)
    start = read()
    return tf.cond(
        tf.size(start) > 0,
        lambda: straight(counter, read),
        lambda: (start, start, values.read(0)),
    )


def in_a_function(counter, read):
    inner = tf.function(lambda: _updated(counter))
    before = read()
    inner()
    between = read()
    inner()
    return before, between, read()


def read_in_a_function(counter, read):
    inner = tf.function(lambda: read())
    before = inner()
    counter.update()
    between = inner()
    counter.update()
    return before, between, inner()


def both_in_functions(counter, read):
    return in_a_function(counter, tf.function(lambda: read()))


def two_deep(counter, read):
    inner = tf.function(lambda: tf.cond(tf.constant(True), lambda: _updated(counter), lambda: True))
    outer = tf.function(lambda: inner())
    before = read()
    outer()
    between = read()
    outer()
    return before, between, read()


def in_a_loop(counter, read):
    seen = tf.TensorArray(tf.float32, 3, element_shape=[SIZE])
    for k in tf.range(2):
        seen = seen.write(k, read())
        counter.update()
    seen = seen.write(2, read())
    return tf.unstack(seen.stack(), 3)


def _updated(counter):
    counter.update()
    return True


SHAPES = [
    straight,
    in_a_branch,
    all_in_a_branch,
    in_a_function,
    read_in_a_function,
    both_in_functions,
    two_deep,
    in_a_loop,
]


@pytest.mark.parametrize("what", ["slot", "weight"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_updates_and_reads_run_in_the_order_in_which_they_were_written(shape, what):
    counter = Counter()

    def read():
        return tf.identity({"slot": counter.velocity, "weight": counter.weight.value}[what])

    step = tf.function(lambda: shape(counter, read), autograph=True)
    assert "TfoptFusedUpdateBundled" in ops_in(step)
    total = {"slot": lambda k: -k, "weight": lambda k: -k * (k + 1) / 2}[what]
    for k in range(ROUNDS):
        assert [spread(v) for v in step()] == [total(2 * k), total(2 * k + 1), total(2 * k + 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_updates_and_writes_run_in_the_order_in_which_they_were_written(shape):
    counter = Counter()

    def write_and_read():
        before = tf.identity(counter.velocity)
        counter.velocity.assign(tf.zeros(SIZE))
        return before

    step = tf.function(lambda: shape(counter, write_and_read), autograph=True)
    step()
    for _ in range(ROUNDS):
        assert [spread(v) for v in step()] == [0.0, -1.0, -1.0]


def test_the_resolver_is_what_orders_them():
    """The private hook of TensorFlow: `register_acd_resource_resolver` asks which resources an op touches."""
    counter = Counter()

    @tf.function
    def step():
        before = tf.identity(counter.velocity)
        counter.update()
        return before, tf.identity(counter.velocity)

    graph = step.get_concrete_function().graph
    (update,) = [op for op in graph.get_operations() if op.type == "TfoptFusedUpdateBundled"]
    reads = [
        op for op in graph.get_operations() if op.type == "ReadVariableOp" and op in _around(update, graph)
    ]
    assert any(read in update.control_inputs for read in reads)
    assert any(update in read.control_inputs for read in reads)
    bundles = _glue._captures(graph).bundles
    assert [len(touched) for touched in bundles.values()] == [2]  # itself, and the slot


def test_bundles_that_share_a_variable_are_ordered():
    """Even where the graph captures no variable by itself."""
    first, second = (keras.Variable(tf.zeros(SIZE)) for _ in range(2))
    add, halve = tfopt.SGD(1.0), tfopt.SGD(0.5, weight_decay=1.0)
    add.build([first])
    halve.build([first, second])

    @tf.function
    def step():
        for _ in range(8):
            add.apply([tf.fill([SIZE], -1.0)], [first])
            halve.apply([tf.zeros(SIZE)] * 2, [first, second])

    graph = step.get_concrete_function().graph
    updates = [op for op in graph.get_operations() if op.type == "TfoptFusedUpdateBundled"]
    assert len({id(update.inputs[0]) for update in updates}) == 2
    for before, after in itertools.pairwise(updates):
        assert before in after.control_inputs
    expected = 0.0
    for _ in range(ROUNDS):
        step()
        for _ in range(8):
            expected = (expected + 1.0) * 0.5
        assert spread(first) == pytest.approx(expected, rel=1e-6)


def _around(update, graph):
    return {*update.control_inputs, *(op for op in graph.get_operations() if update in op.control_inputs)}


# -- When it is made and how long it lives ---------------------------------------------------------------


@pytest.fixture
def made(monkeypatch, loaded):
    """How many variables each new bundle has."""
    sizes = []
    plain = _bundle._made

    def counting(make, handles):
        time.sleep(0.02)  # so that other threads come by meanwhile
        sizes.append(len(handles))
        return plain(make, handles)

    monkeypatch.setattr(_bundle, "_made", counting)
    return sizes


def test_one_bundle_serves_eager_calls_and_all_graphs(made):
    counter = Counter()
    counter.update()
    tf.function(counter.update)()
    tf.function(counter.update)()
    counter.update()
    assert made == [2]
    assert spread(counter.weight) == -10.0


def test_gradients_that_are_missing_make_another_bundle(made):
    weights = [keras.Variable(tf.zeros(3)) for _ in range(2)]
    optimizer = tfopt.Momentum(0.5, 0.0)
    optimizer.build(weights)
    for gradients in ([tf.ones(3), None], [tf.ones(3)] * 2, [tf.ones(3), None]):
        optimizer.apply(gradients, weights)
    assert made == [2, 4]
    assert [spread(w) for w in weights] == [-1.5, -0.5]


def test_it_goes_with_the_optimizer(made):
    weight = keras.Variable(tf.zeros(SIZE))
    alive = []
    for _ in range(3):
        counter = Counter(weight)
        tf.function(counter.update)()
        alive.append(weakref.ref(counter.velocity.handle))
        alive.append(weakref.ref(next(iter(counter.velocity._tfopt_bundles.values()))))
        del counter
    gc.collect()
    assert made == [2] * 3
    assert [ref() for ref in alive] == [None] * 6


def test_memory_is_given_back():
    """The buffers, not only what Python sees of them."""
    weight, gradient = keras.Variable(tf.zeros(25_000_000)), tf.zeros(25_000_000)

    def once():
        optimizer = tfopt.Momentum(0.1)
        tf.function(lambda g: optimizer.apply([g], [weight]), autograph=False)(gradient)

    sizes = []
    for _ in range(8):
        once()
        gc.collect()
        sizes.append(_resident())
    assert min(sizes[-2:]) - min(sizes[:2]) < 300e6  # six velocities are 600 MB


def _resident():
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def test_a_graph_keeps_the_variables_it_updates():
    counter = Counter()
    weight = counter.weight
    step = tf.function(counter.update).get_concrete_function()
    del counter
    gc.collect()
    for _ in range(3):
        step()
    assert spread(weight) == -6.0


def test_a_new_variable_in_place_of_an_old_one_gets_a_new_bundle(make):
    kept = tf.Variable(0.0)
    first = bundle_of(make, [tf.Variable(1.0), kept])
    gc.collect()
    second = bundle_of(make, [tf.Variable(2.0), kept])
    assert first is not second
    assert bundle_of(make, [kept]) is bundle_of(make, [kept])


def test_state_loaded_after_tracing_is_what_the_graph_updates():
    counter, other = Counter(), Counter()
    step = tf.function(counter.update)
    step()
    for _ in range(3):
        other.update()
    store: dict = {}
    other.optimizer.save_own_variables(store)
    counter.optimizer.load_own_variables(store)
    step()
    assert spread(counter.velocity) == -4.0


def test_several_models_share_a_step():
    counters = [Counter() for _ in range(3)]

    @tf.function
    def step():
        for _ in tf.range(4):
            for counter in counters:
                counter.update()

    step()
    assert [spread(c.weight) for c in counters] == [-10.0] * 3


# -- Where lists of handles serve ------------------------------------------------------------------------


def test_xla_gets_lists(lowering, made):
    counter = Counter()
    step = tf.function(counter.update, jit_compile=True)
    assert "TfoptFusedUpdate" in ops_in(step)
    step()
    step()
    assert made == []
    assert spread(counter.weight) == -3.0


def test_variables_of_a_graph_get_lists(loaded, made):
    kernel = loaded.kernels["sgd"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        weight = tf.Variable(tf.ones(3))
        now = [types.SimpleNamespace(rate=tf.constant(0.25, tf.float64))]
        kernel(gradients=[tf.ones(3)], weights=[weight], slots=[], scalars=now, following=now, keep=[None])
        (update,) = [op for op in weight.graph.get_operations() if op.type == "TfoptFusedUpdate"]
        session.run(weight.initializer)
        session.run(update)
        assert session.run(weight).tolist() == [0.75] * 3
    assert made == []


def test_large_variables_are_moved_with_what_they_hold(make):
    values = np.random.default_rng(0).normal(size=(3, 500_000)).astype("float32")
    variables = [tf.Variable(v) for v in values] + [tf.Variable(tf.fill([500_000], "text"))]
    held = [v.read_value() for v in variables[:3]]
    make(variables=[v.handle for v in variables])
    for variable, before, value in zip(variables, held, values, strict=False):
        np.testing.assert_array_equal(variable.numpy(), value)
        np.testing.assert_array_equal(before, value)
    assert set(variables[3].numpy()) == {b"text"}


# -- Strategies, options, saving -------------------------------------------------------------------------


def test_each_replica_has_a_bundle(strategy, made):
    with strategy.scope():
        counter = Counter()

    @tf.function
    def step():
        strategy.run(lambda: counter.update(0.5))  # summed over two replicas
        return [tf.identity(v) for v in strategy.experimental_local_results(counter.weight.value)]

    assert made == []
    for k in range(1, 5):
        assert [spread(v) for v in step()] == [-k * (k + 1) / 2] * 2
    assert made == [2, 2]


@pytest.mark.parametrize("per_execution", [1, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_accumulation_steps": 2}, {"skip_nonfinite": True}, {"use_ema": True}],
    ids=lambda o: "".join(o) or "plain",
)
def test_fit_is_as_without_the_kernel(made, options, per_execution):
    def train(**more):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
        optimizer = tfopt.Adam(0.05, **options, **more)
        model.compile(optimizer, "mse", steps_per_execution=per_execution, jit_compile=False)
        x = np.random.default_rng(0).normal(size=(24, 3))
        model.fit(x, x.sum(1), batch_size=4, epochs=2, verbose=0, shuffle=False)
        return [w.numpy() for w in [*model.weights, *compared(optimizer)]]

    fused = train()
    assert made
    for a, b in zip(fused, train(fused=False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_trained_model_is_saved_and_exported(made, tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(tfopt.Adam(0.1), "mse", jit_compile=False)
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    assert made
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "export", verbose=False)
    tf.saved_model.save(model, tmp_path / "saved")
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(tmp_path / "checkpoint")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    np.testing.assert_array_equal(again.weights[0], model.weights[0])


def test_an_update_is_exported_without_the_kernel(tmp_path):
    module = tf.Module()
    module.weight, module.optimizer = tf.Variable(tf.zeros(2)), tfopt.Momentum(1.0, fused=False)
    module.optimizer.build([module.weight])
    signature = [tf.TensorSpec([2])]
    module.step = tf.function(
        lambda g: module.optimizer.apply([g], [module.weight]), input_signature=signature
    )
    tf.saved_model.save(module, tmp_path)
    again = tf.saved_model.load(tmp_path)
    again.step(tf.ones(2))
    assert again.weight.numpy().tolist() == [-1.0, -1.0]


# -- What the ops refuse ---------------------------------------------------------------------------------


class Call:
    """Arguments of a good call for two variables under momentum."""

    def __init__(self, loaded):
        self.ops = loaded.kernels["momentum"].ops
        self.variables = [tf.Variable(tf.ones(3)) for _ in range(4)]
        self.bundle = self.ops.tfopt_bundle(variables=[v.handle for v in self.variables])

    def __call__(self, **changed):
        arguments = dict(
            bundle=self.bundle,
            gradients=[tf.ones(3)] * 2,
            rows=[],
            scalars=tf.constant([[1.0, 1.0]], tf.float64),
            following=tf.zeros((0, 0), tf.float64),
            keep=tf.ones(1, tf.float64),
            factors=tf.constant(1.0, tf.float64),
            bound=tf.constant(float("inf"), tf.float64),
            average_rate=tf.constant(0.0, tf.float64),
            rule="momentum",
            groups=[0, 0],
            sparse=[],
            S=2,
            A=0,
            C=0,
            T=tf.float32,
        )
        self.ops.tfopt_fused_update_bundled(**{**arguments, **changed})


SPOILT = {
    "a variable for a bundle": lambda call: {"bundle": call.variables[0].handle},
    "too small a bundle": lambda call: {"bundle": call.ops.tfopt_bundle(variables=_handles(call, 3))},
    "a bundle of others": lambda call: {"bundle": call.ops.tfopt_bundle(variables=_others(call))},
    "slots": lambda call: {"S": 1},
    "too many averages": lambda call: {"A": 2},
    "half the averages": lambda call: {"A": 1},
    "too many accumulators": lambda call: {"C": 2},
    "another type": lambda call: {"T": tf.float64},
    "a gradient's shape": lambda call: {"gradients": [tf.ones(3), tf.ones(4)]},
    "one gradient": lambda call: {"gradients": [tf.ones(3)], "groups": [0]},
    "another rule": lambda call: {"rule": "adam"},
    "scalars": lambda call: {"scalars": tf.ones((1, 3), tf.float64)},
    "scalars' rank": lambda call: {"scalars": tf.ones(2, tf.float64)},
    "scalars' type": lambda call: {"scalars": tf.ones((1, 2))},
    "NaN scalar": lambda call: {"scalars": tf.constant([[float("nan"), 1.0]], tf.float64)},
    "following": lambda call: {"following": tf.ones((1, 2), tf.float64)},
    "keep's length": lambda call: {"keep": tf.ones(2, tf.float64)},
    "NaN keep": lambda call: {"keep": tf.constant([float("nan")], tf.float64)},
    "factors' length": lambda call: {"factors": tf.ones(3, tf.float64)},
    "negative bound": lambda call: {"bound": tf.constant(-1.0, tf.float64)},
    "NaN bound": lambda call: {"bound": tf.constant(float("nan"), tf.float64)},
    "bound's rank": lambda call: {"bound": tf.ones(1, tf.float64)},
    "average's rank": lambda call: {"average_rate": tf.ones(1, tf.float64)},
    "NaN average rate": lambda call: {"average_rate": tf.constant(float("nan"), tf.float64)},
    "few groups": lambda call: {"groups": [0]},
    "group too high": lambda call: {"groups": [0, 1]},
    "group below 0": lambda call: {"groups": [0, -1]},
    "negative slots": lambda call: {"S": -1},
    "far too many slots": lambda call: {"S": 2**31 - 1},
    "gradient's type": lambda call: {"gradients": [tf.ones(3, tf.float64)] * 2},
    "no gradient": lambda call: {"gradients": [], "groups": []},
    "rows without values": lambda call: {"sparse": [0]},
    "values without rows": lambda call: {"rows": [_row(0)]},
    "rows in a wrong place": lambda call: _sparse([0, 1]) | {"sparse": [2]},
    "row too high": lambda call: _sparse([1, 3]),
    "row below 0": lambda call: _sparse([-1, 2]),
    "more rows than values": lambda call: _sparse([0, 1, 2]) | {"gradients": [tf.ones(2), tf.ones(3)]},
    "no bundle": lambda call: {"bundle": tf.stack([call.bundle])[:0]},
}


def _row(*indices):
    return tf.constant(indices, tf.int64)


def _sparse(indices):
    return {"gradients": [tf.ones(len(indices)), tf.ones(3)], "rows": [_row(*indices)], "sparse": [0]}


def _handles(call, count):
    return [v.handle for v in call.variables[:count]]


def _others(call):
    call.others = [tf.Variable(tf.ones(3, tf.float64)) for _ in range(4)]
    return [v.handle for v in call.others]


@pytest.mark.parametrize("how", SPOILT)
def test_bad_input_is_refused_and_changes_nothing(loaded, how):
    call = Call(loaded)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        call(**SPOILT[how](call))
    assert {float(x) for v in call.variables for x in v.numpy()} == {1.0}
    call()
    assert {float(x) for v in call.variables[:2] for x in v.numpy()} == {1.0}
    assert {float(x) for v in call.variables[2:] for x in v.numpy()} == {0.0}


def test_a_bundle_takes_different_initialised_variables_only(make):
    variable = tf.Variable(1.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="twice"):
        make(variables=[variable.handle] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no initialised variable"):
        make(variables=[make(variables=[variable.handle])])


def test_a_variable_that_lives_by_its_name_is_refused(make):
    """Such a variable can be made anew under its name, and a bundle would go on with the old one."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.Variable(1.0)
        bundle = make(variables=[variable.handle])
        session.run(variable.initializer)
        with pytest.raises(tf.errors.InvalidArgumentError, match="lives as long as its handle"):
            session.run(bundle.op)


# -- Threads ---------------------------------------------------------------------------------------------


def test_threads_share_a_bundle_from_the_first_call_on(made):
    counter = Counter()
    barrier = threading.Barrier(4)
    step = tf.function(lambda: counter.update(0.0))

    def work():
        barrier.wait(timeout=60)
        counter.update(0.0)
        for _ in range(50):
            step()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert made == [2]
    assert spread(counter.weight) == 0.0


# -- What a variable costs -------------------------------------------------------------------------------


def nodes(count, optimizer=tfopt.Adam, **options):
    """Operations in the graph of an update of that many variables, whose gradients are one tensor's parts."""
    weights = [keras.Variable(tf.zeros(4), name=f"w{i}") for i in range(count)]
    made = optimizer(**options)
    made.build(weights)
    gradients = tf.zeros((count, 4))
    step = tf.function(lambda: made.apply(tf.unstack(gradients), weights), autograph=False)
    return len(ops_in(step))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1, "global_clipnorm": 1.0},
        {"weight_decay": 0.1, "weight_decay_exclude": ["0$"]},
    ],
    ids=["plain", "clip", "exclude"],
)
def test_a_variable_adds_no_node_to_the_graph_but_its_gradient(options):
    assert nodes(3, **options) == nodes(13, **options)
