"""The op itself: what it refuses, and many threads on the same variables."""

import itertools
import re
import threading

import numpy as np
import pytest
import tensorflow as tf

SIZE = 5


@pytest.fixture
def op(loaded):
    """The op without a rule's Python face around it."""
    return loaded.kernels["adam"].ops.tfopt_fused_update


class Call:
    """Arguments of a good call for two variables under Adam, to be spoilt."""

    def __init__(self, dtype=tf.float32):
        self.variables = [tf.Variable(tf.ones(SIZE, dtype)) for _ in range(10)]
        handles = [v.handle for v in self.variables]
        self.arguments = dict(
            weights=handles[:2],
            slots=handles[2:6],
            averages=handles[6:8],
            accumulators=handles[8:],
            gradients=[tf.ones(SIZE, dtype)] * 2,
            rows=[],
            scalars=tf.constant([[0.1, 0.01, 0.5, 0.1]], tf.float64),
            following=tf.zeros((0, 0), tf.float64),
            keep=tf.constant([1.0], tf.float64),
            factors=tf.constant(1.0, tf.float64),
            bound=tf.constant(float("inf"), tf.float64),
            average_rate=tf.constant(0.5, tf.float64),
            rule="adam",
            groups=[0, 0],
            sparse=[],
            T=dtype,
        )

    def values(self):
        return [v.numpy() for v in self.variables]


def double(*values):
    return tf.constant(values, tf.float64)


def integers(*values):
    return tf.constant(values, tf.int64)


def sparse(call, indices, values=None, places=(0,)):
    """The call with some rows of the first gradient in place of it."""
    values = tf.ones(len(indices)) if values is None else values
    rows = [tf.constant(indices, tf.int64)]
    return {"gradients": [values, call.arguments["gradients"][1]], "rows": rows, "sparse": list(places)}


def swapped(handles, i, variable):
    return [variable.handle if k == i else handle for k, handle in enumerate(handles)]


OTHER = {
    "shape": lambda: tf.Variable(tf.ones(SIZE + 1)),
    "rank": lambda: tf.Variable(tf.ones((1, SIZE))),
    "dtype": lambda: tf.Variable(tf.ones(SIZE, tf.float64)),
    "integers": lambda: tf.Variable(tf.ones(SIZE, tf.int32)),
}


def no_handle(variable):
    """A list of handles that is empty, as a tensor."""
    return tf.stack([variable.handle])[:0]


LISTS = {"weights": 1, "slots": 3, "averages": 0, "accumulators": 1}
SPOILT = {
    **{
        f"{name}: other {what}": lambda call, name=name, i=i, what=what: {
            name: swapped(call.arguments[name], i, call.other(what))
        }
        for (name, i), what in itertools.product(LISTS.items(), OTHER)
    },
    **{
        f"{name}: no handle": lambda call, name=name: {
            name: [no_handle(call.variables[0]), *call.arguments[name][1:]]
        }
        for name in LISTS
    },
    "a variable twice": lambda call: {"weights": [call.arguments["weights"][0]] * 2},
    "weight as slot": lambda call: {"slots": [call.arguments["weights"][0], *call.arguments["slots"][1:]]},
    "too few slots": lambda call: {"slots": call.arguments["slots"][:3]},
    "no slots": lambda call: {"slots": []},
    "slots of another rule": lambda call: {"rule": "amsgrad"},
    "no such rule": lambda call: {"rule": "adamant"},
    "one average": lambda call: {"averages": call.arguments["averages"][:1]},
    "one accumulator": lambda call: {"accumulators": call.arguments["accumulators"][:1]},
    "slot as accumulator": lambda call: {"accumulators": call.arguments["slots"][:2]},
    "gradient's shape": lambda call: {"gradients": [tf.ones(SIZE), tf.ones(SIZE - 1)]},
    "gradient's type": lambda call: {"gradients": [tf.ones(SIZE, tf.float64)] * 2},
    "one gradient": lambda call: {"gradients": [tf.ones(SIZE)]},
    "half gradients of double": lambda call: {"gradients": [tf.ones(SIZE, tf.float16)] * 2, "T": tf.float64},
    "weights' type": lambda call: {"T": tf.float64},
    "few scalars": lambda call: {"scalars": double([0.1, 0.01, 0.5])},
    "scalars' rank": lambda call: {"scalars": double(0.1, 0.01, 0.5, 0.1)},
    "no scalars": lambda call: {"scalars": tf.zeros((0, 4), tf.float64)},
    "scalars' type": lambda call: {"scalars": tf.ones((1, 4))},
    "following": lambda call: {"following": call.arguments["scalars"]},
    "following's rank": lambda call: {"following": double()},
    "keep's rank": lambda call: {"keep": double(1.0)[0]},
    "keep's length": lambda call: {"keep": double(1.0, 1.0)},
    "factors' length": lambda call: {"factors": double(1.0, 1.0, 1.0)},
    "factors' rank": lambda call: {"factors": double([1.0, 1.0])},
    "average's rate": lambda call: {"average_rate": double(0.5)},
    "negative bound": lambda call: {"bound": double(-1.0)[0]},
    "NaN bound": lambda call: {"bound": double(float("nan"))[0]},
    "bound's rank": lambda call: {"bound": double(1.0)},
    "rows without values": lambda call: {"sparse": [0]},
    "values without rows": lambda call: {"rows": [integers(0)]},
    "rows in a wrong place": lambda call: sparse(call, [0, 1], places=[2]),
    "rows in a negative place": lambda call: sparse(call, [0, 1], places=[-1]),
    "rows twice": lambda call: sparse(call, [0, 1]) | {"sparse": [0, 0], "rows": [integers(0, 1)] * 2},
    "row too high": lambda call: sparse(call, [1, SIZE]),
    "row far too high": lambda call: sparse(call, [1, 2**63 - 1]),
    "row below 0": lambda call: sparse(call, [-1, 2]),
    "row far below 0": lambda call: sparse(call, [-(2**63), 2]),
    "more rows than values": lambda call: sparse(call, [0, 1, 2], values=tf.ones(2)),
    "rows' rank": lambda call: sparse(call, [[0, 1]], values=tf.ones((1, 2))),
    "rows' type": lambda call: sparse(call, [0, 1]) | {"rows": [tf.constant([0, 1], tf.int32)]},
    "rows of another length": lambda call: sparse(call, [0, 1], values=tf.ones((2, 1))),
    "rows as a scalar": lambda call: sparse(call, 0, values=tf.ones(())),
    "few groups": lambda call: {"groups": [0]},
    "group too high": lambda call: {"groups": [0, 1]},
    "group below 0": lambda call: {"groups": [0, -1]},
    "NaN scalar": lambda call: {"scalars": double([0.1, 0.01, float("nan"), 0.1])},
    "infinite scalar": lambda call: {"scalars": double([0.1, float("inf"), 0.5, 0.1])},
    "NaN keep": lambda call: {"keep": double(float("nan"))},
    "NaN average rate": lambda call: {"average_rate": double(float("nan"))[0]},
}


TENSORS = ("gradients", "rows", "scalars", "following", "keep", "factors", "bound", "average_rate")


def spoil(call, how):
    call.kept = []

    def other(what):
        call.kept.append(OTHER[what]())
        return call.kept[-1]

    call.other = other
    return {**call.arguments, **SPOILT[how](call)}


REFUSALS = (tf.errors.InvalidArgumentError, ValueError, TypeError)


def assert_refused(call, run, errors=REFUSALS):
    before = call.values()
    with pytest.raises(errors):
        run()
    np.testing.assert_equal(call.values(), before)


@pytest.mark.parametrize("how", SPOILT)
def test_bad_input_is_refused_and_changes_nothing(op, how):
    call = Call()
    arguments = spoil(call, how)
    assert_refused(call, lambda: op(**arguments))


@pytest.mark.parametrize("how", SPOILT)
def test_bad_input_of_unknown_shape_is_refused_in_a_graph(op, how):
    call = Call()
    arguments = spoil(call, how)
    fed = {name: arguments[name] for name in TENSORS}
    unknown = tf.nest.map_structure(lambda t: tf.TensorSpec(None, t.dtype), fed)

    @tf.function(input_signature=[unknown])
    def step(fed):
        op(**{**arguments, **fed})

    assert_refused(call, lambda: step(fed))


# What only a value tells; in a compiled program it takes its course, as in the rule.
VALUES = re.compile("NaN|infinite|negative bound")


@pytest.mark.parametrize("how", [how for how in SPOILT if not VALUES.match(how)])
@pytest.mark.usefixtures("lowering")
def test_bad_input_is_refused_in_what_xla_compiles(op, how):
    call = Call()
    arguments = spoil(call, how)
    fed = {name: arguments[name] for name in TENSORS}
    step = tf.function(lambda fed: op(**{**arguments, **fed}), jit_compile=True, autograph=False)
    assert_refused(call, lambda: step(fed), (*REFUSALS, tf.errors.UnimplementedError))


@pytest.mark.parametrize("name", LISTS)
def test_in_a_graph_a_handle_that_is_not_there_is_named(op, name):
    """Called from Python, TensorFlow refuses it by itself."""
    call = Call()
    step = tf.function(lambda: op(**spoil(call, f"{name}: no handle")) is None, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"shape \[0\], expected one handle"):
        step()


def test_the_good_call_is_good(op):
    call = Call()
    op(**call.arguments)
    assert all((new != 1.0).all() for new in call.values()[:2])


@pytest.mark.parametrize("given", [[], [0, 4], [4, 0, 4, 4]], ids=len)
def test_some_rows_are_the_dense_gradient_that_has_zeros_elsewhere(op, given):
    by_rows, dense = Call(), Call()
    values = tf.range(1.0, len(given) + 1.0)
    op(**by_rows.arguments | sparse(by_rows, given, values=values))
    whole = tf.math.unsorted_segment_sum(values, tf.constant(given, tf.int64), SIZE)
    op(**dense.arguments | {"gradients": [whole, dense.arguments["gradients"][1]]})
    np.testing.assert_equal(by_rows.values(), dense.values())


def many_of(op, variables, gradients):
    """An update of so many variables, (weight, m, v) each, without averages and accumulators."""
    arguments = Call().arguments | dict(averages=[], accumulators=[], groups=[0] * len(variables))
    weights, *slots = ([v.handle for v in kind] for kind in zip(*variables, strict=True))
    op(**(arguments | dict(weights=weights, slots=list(itertools.chain(*slots)), gradients=gradients)))


def made(count):
    """So many triples (weight, m, v) of a few sizes, and their gradients."""
    rng = np.random.default_rng(0)
    sizes = [1 + k % 3 for k in range(count)]
    drawn = [[np.float32(rng.uniform(0.1, 1, size)) for _ in range(4)] for size in sizes]
    return [[tf.Variable(part) for part in row[:3]] for row in drawn], [tf.constant(row[3]) for row in drawn]


def test_variables_that_several_threads_look_up_are_updated_as_each_alone(op):
    together, gradients = made(700)
    alone, _ = made(700)
    many_of(op, together, gradients)
    for variables, gradient in zip(alone, gradients, strict=True):
        many_of(op, [variables], [gradient])
    for left, right in zip(together, alone, strict=True):
        np.testing.assert_array_equal([v.numpy() for v in left], [v.numpy() for v in right])


def test_of_variables_that_several_threads_refuse_the_first_is_named(op):
    variables, gradients = made(700)
    for k in (650, 300, 299):
        variables[k][0] = tf.Variable(tf.ones(SIZE, tf.float64))
    before = [v.numpy() for row in variables for v in row]
    with pytest.raises(tf.errors.InvalidArgumentError, match="the variable of input 299 holds"):
        many_of(op, variables, gradients)
    for v, kept in zip(itertools.chain(*variables), before, strict=True):
        np.testing.assert_array_equal(v.numpy(), kept)


def test_accumulators_are_added_and_zeroed(op):
    call, plain = Call(), Call()
    call.variables[8].assign([3.0, -1.0, 0.5, 0.0, 1.0])
    whole = [v + 1.0 for v in call.variables[8:]]
    op(**call.arguments)
    op(**plain.arguments | {"accumulators": [], "gradients": whole})
    np.testing.assert_equal(call.values()[:8], plain.values()[:8])
    np.testing.assert_equal(call.values()[8:], [np.zeros(SIZE)] * 2)


@pytest.mark.parametrize("which", range(10))
def test_uninitialised_variables_are_refused(op, which):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        call = Call()
        ready = [v.initializer for i, v in enumerate(call.variables) if i != which]
        update = op(**call.arguments)
        session.run(ready)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"input {which}"):
            session.run(update)
        session.run(call.variables[which].initializer)
        session.run(update)


def test_random_arguments_never_crash(op):
    """Any mixture of good and bad arguments is either taken or refused."""
    rng = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        call = Call()
        arguments = dict(call.arguments)
        for how in rng.choice(sorted(SPOILT), size=rng.integers(0, 3), replace=False):
            arguments |= {k: v for k, v in spoil(call, how).items() if v is not call.arguments[k]}
        before = call.values()
        try:
            op(**arguments)
        except (tf.errors.InvalidArgumentError, ValueError, TypeError):
            outcomes[False] += 1
            np.testing.assert_equal(call.values(), before)
        else:
            outcomes[True] += 1
    assert min(outcomes.values()) > 20


# -- Several threads -------------------------------------------------------------------------------------

ELEMENTS = 300_000
STEPS = 150


def count_down(kernel, weights, velocities, steps):
    """θ ← θ − 1 and v ← v − 1, which float32 computes exactly."""
    for _ in range(steps):
        kernel.ops.tfopt_fused_update(
            weights=[w.handle for w in weights],
            slots=[v.handle for v in velocities],
            averages=[],
            accumulators=[],
            gradients=[tf.ones(ELEMENTS) for _ in weights],
            rows=[],
            scalars=double([0.0, 1.0]),
            following=tf.zeros((0, 0), tf.float64),
            keep=double(1.0),
            factors=double(1.0)[0],
            bound=double(float("inf"))[0],
            average_rate=double(0.0)[0],
            rule="momentum",
            groups=[0] * len(weights),
            sparse=[],
            T=tf.float32,
        )


def note_torn_checkpoints(weights, folder, torn):
    """Save checkpoints of `weights`, and note those in which a variable is torn."""
    path = tf.train.Checkpoint(weights=weights).write(str(folder / "checkpoint"))
    for i in range(len(weights)):
        saved = tf.train.load_variable(path, f"weights/{i}/.ATTRIBUTES/VARIABLE_VALUE")
        if saved.min() != saved.max():
            torn.append(saved)


def note_torn(weights, torn):
    """Read `weights`, and note values that are torn."""
    for variable in weights:
        seen = variable.numpy()
        if seen.min() != seen.max():
            torn.append(seen)


def repeated(work, done, failures):
    """A thread that does `work` until `done`, and notes what it raises."""

    def run():
        while not done.is_set():
            try:
                work()
            except Exception as error:
                failures.append(error)
                return

    return threading.Thread(target=run, daemon=True)


@pytest.mark.parametrize("gathered", [False, True], ids=["plain", "copied on read"])
def test_threads_neither_lose_updates_nor_show_or_save_torn_values(loaded, tmp_path, gathered):
    kernel = loaded.kernels["momentum"]
    weights, slots = ([tf.Variable(tf.zeros(ELEMENTS)) for _ in range(2)] for _ in range(2))
    if gathered:
        for variable in weights:
            variable.sparse_read([0])
    torn, failures, done = [], [], threading.Event()
    # The lists run against each other, so that locks taken in order of the lists would wait for ever.
    orders = [(weights, slots), (weights[::-1], slots[::-1])]
    workers = [
        threading.Thread(target=count_down, args=(kernel, *order, STEPS), daemon=True) for order in orders
    ]
    watchers = [
        repeated(lambda: note_torn(weights, torn), done, failures),
        repeated(lambda: note_torn_checkpoints(weights, tmp_path, torn), done, failures),
    ]
    for thread in (*watchers, *workers):
        thread.start()
    for worker in workers:
        worker.join(timeout=120)
    done.set()
    for watcher in watchers:
        watcher.join(timeout=120)
    assert not any(thread.is_alive() for thread in (*watchers, *workers))
    assert failures == []
    assert torn == []
    assert {float(x) for w in weights for x in np.unique(w.numpy())} == {-2.0 * STEPS}
