"""The fused update inside what XLA compiles: one call of the kernels on CPU, in place."""

import re
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

# Every type, nothing, a scalar, and sizes that threads share at any element.
SHAPES = [(), (3, 0, 2), (0,), (1,), (31, 67), (70_001,), (131_073,)]
# More than one call updates, which ends with the weight that makes 2²⁰ elements full.
LARGE = [(1024, 1100), (7,), (1024, 1024), (1_100_000,), (5, 3)]
CALLS_OF_LARGE = 4
DTYPES = ("float32", "float64", "float16", "bfloat16")
# The kernels are the same; XLA computes the steps' scalars in another way.
TOLERANCES = {"float32": 1e-6, "float64": 1e-13, "float16": 1e-3, "bfloat16": 8e-3}
CALL = "tfopt_fused_update"

pytestmark = pytest.mark.usefixtures("lowering")


def compared(optimizer):
    """Its state but for checksums of weights, which differ where the weights do in their last digit."""
    return [v for (slot, _), v in optimizer.named_state() if slot != "shown"]


class Training:
    """An optimizer and its weights, updated by a compiled function or eagerly."""

    def __init__(self, optimizer, shapes, dtypes=("float32",), jit=True):
        kinds = [(shape, dtype) for dtype in dtypes for shape in shapes]
        rng = np.random.default_rng(0)
        self.optimizer = optimizer
        self.weights = [keras.Variable(rng.normal(size=shape), dtype=dtype) for shape, dtype in kinds]
        optimizer.build(self.weights)
        self.step = tf.function(self.update, jit_compile=True, autograph=False) if jit else self.update

    def update(self, gradients):
        self.optimizer.apply(gradients, self.weights)

    def gradients(self, seed=1):
        rng = np.random.default_rng(seed)
        return [tf.cast(rng.normal(size=w.shape), w.dtype) for w in self.weights]

    def variables(self):
        return [*self.weights, *compared(self.optimizer)]

    def program(self, stage):
        return self.step.experimental_get_compiler_ir(self.gradients())(stage=stage)


def values(training):
    """Name, value and type of every variable."""
    return [(v.path, v.numpy().astype("float64"), v.dtype) for v in training.variables()]


def assert_same(left, right):
    for (name, a, dtype), (_, b, _) in zip(left, right, strict=True):
        tolerance = TOLERANCES.get(dtype, 0)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


OPTIMIZERS = {
    "adam": lambda: tfopt.Adam(0.1, weight_decay=0.05, use_ema=True, global_clipnorm=2.0),
    "nadam lookahead": lambda: tfopt.NAdam(0.1, form="lookahead", clipnorm=0.5),
    "sgd": lambda: tfopt.SGD(0.1, clipvalue=0.3, learning_rate_multipliers={"variable": 0.5}),
    "rmsprop accumulated": lambda: tfopt.RMSProp(
        0.1, momentum=0.5, gradient_accumulation_steps=2, global_clipnorm=2.0
    ),
}


@pytest.mark.parametrize("sizes", [(SHAPES, DTYPES), (LARGE, ("float32",))], ids=["mixed", "several calls"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_compiled_equals_eager(name, sizes):
    trained = []
    for jit in (True, False):
        training = Training(OPTIMIZERS[name](), *sizes, jit)
        for seed in range(4):
            training.step(training.gradients(seed))
        trained.append(values(training))
    assert_same(*trained)


def test_a_program_is_one_call_that_copies_no_variable():
    training = Training(tfopt.Adam(0.1), [(300, 5), (17,), (40_000,)])
    program = training.program("optimized_hlo")
    (call,) = re.findall(rf'= \(.*custom_call_target="{CALL}".*', program)
    assert call.count("f32[40000]") >= 3
    assert len(re.findall(r"\{\d+\}: \(\d+, \{\}\)", call)) == 9
    assert not re.findall(r"f32\[(?:300,5|17|40000)\]\S* (?:copy|fusion)\(", program)


def calls(program):
    return program.count(f'custom_call_target="{CALL}"')


def test_all_small_weights_of_a_type_share_one_call():
    program = Training(tfopt.Adam(0.1), [(5,), (6,)], DTYPES).program("hlo")
    assert calls(program) == len(DTYPES)


def test_large_lists_are_updated_by_several_calls_that_copy_nothing():
    program = Training(tfopt.Adam(0.1), LARGE).program("optimized_hlo")
    assert calls(program) == CALLS_OF_LARGE
    assert not re.findall(r"f32\[(?:1024,1100|1024,1024|1100000)\]\S* (?:copy|fusion)\(", program)


@pytest.mark.parametrize("use_bias", [True, False])
def test_in_a_train_step_a_layer_is_updated_before_the_first_ones_gradient_is_there(use_bias):
    """And no kernel is copied, though the backward pass reads it on its way to the layer before."""
    width, count = 1030, 4
    layers = [keras.layers.Dense(width, activation="relu", use_bias=use_bias) for _ in range(count)]
    model = keras.Sequential([keras.Input((width,)), *layers])
    optimizer = tfopt.Adam(0.1)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=True, autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)

    program = step.experimental_get_compiler_ir(tf.ones((2, width)))(stage="optimized_hlo")
    assert "is_scheduled=true" in program
    kernel = rf"f32\[{width},{width}\]"
    assert not re.findall(rf"{kernel}\S* copy\(", program)
    order = re.findall(rf"= {kernel}\S* (dot)\(|(custom-call)\(.*{CALL}", program)
    updates = [bool(update) for _, update in order]
    assert updates.count(False) == count
    assert updates.count(True) == count + use_bias
    # No more than two layers' gradients are held at once.
    assert all(updates[: k + 1].count(False) <= updates[: k + 1].count(True) + 2 for k in range(len(updates)))


def test_a_program_for_export_calls_nothing(portably):
    training = Training(tfopt.Adam(0.1, global_clipnorm=1.0), [(5,), (6, 2)], ("float32", "bfloat16"))
    assert "custom-call" not in portably(lambda: training.program("hlo"))
    assert b"custom_call" not in portably(lambda: training.program("hlo_serialized"))


def test_a_program_for_export_computes_the_same(portably):
    trained = []
    for lower in (portably, lambda function: function()):
        training = Training(tfopt.Adam(0.1, use_ema=True), [(3,), (5, 2)], ("float32", "float16"))
        lower(lambda training=training: training.step(training.gradients()))
        trained.append(values(training))
    assert_same(*trained)


def address(variable):
    """Where the elements of a variable lie."""
    native = variable.value if isinstance(variable, keras.Variable) else variable
    tensor = tf.raw_ops.ReadVariableOp(resource=native.handle, dtype=native.dtype)
    return np.asarray(memoryview(tensor)).__array_interface__["data"][0]


def test_variables_stay_where_they_are():
    training = Training(tfopt.Adam(0.1), [(50_000,)] * 2)
    training.step(training.gradients())
    large = [v for v in training.variables() if tuple(v.shape) == (50_000,)]
    assert len(large) == 6
    before = [address(v) for v in large]
    for _ in range(3):
        training.step(training.gradients())
    assert [address(v) for v in large] == before


def test_values_read_before_and_after_the_update_are_those_of_that_moment():
    weight = keras.Variable(np.ones(100_000, "float32"))
    optimizer = tfopt.SGD(1.0)
    optimizer.build([weight])

    @tf.function(jit_compile=True)
    def step(gradient):
        before, read = tf.identity(weight), tf.reduce_sum(weight[:10])
        optimizer.apply([gradient * (before + 1.0) / (before + 1.0)], [weight])
        return before, read, tf.identity(weight), tf.reduce_sum(weight[:10])

    kept = [step(tf.fill(100_000, 0.25)) for _ in range(3)]
    for k, (before, read, after, read_after) in enumerate(kept):
        old, new = 1 - 0.25 * k, 1 - 0.25 * (k + 1)
        assert np.unique(before).tolist() == [old]
        assert np.unique(after).tolist() == [new]
        assert [float(read), float(read_after)] == [10 * old, 10 * new]


def test_who_holds_an_old_value_keeps_it():
    training = Training(tfopt.SGD(1.0), [(100_000,)])
    (weight,) = training.weights
    weight.assign(tf.ones(100_000))
    held = []
    for _ in range(3):
        held.append(tf.convert_to_tensor(weight.value))
        training.step([tf.ones(100_000)])
    assert [np.unique(v).tolist() for v in held] == [[1.0], [0.0], [-1.0]]


def test_an_update_in_a_branch_and_in_a_loop():
    weight = keras.Variable(np.zeros(70_000, "float32"))
    optimizer = tfopt.Momentum(1.0, 0.0)
    optimizer.build([weight])

    @tf.function(jit_compile=True)
    def steps(count):
        for i in tf.range(count):
            if i % 2 == 0:
                optimizer.apply([tf.ones(70_000)], [weight])

    steps(tf.constant(5))
    assert np.unique(weight.numpy()).tolist() == [-3.0]


def test_many_threads_update_and_read():
    size, threads, rounds = 200_000, 4, 10
    training = Training(tfopt.SGD(0.5), [(size,)])
    (weight,) = training.weights
    weight.assign(tf.zeros(size))
    gradients, torn, done = [tf.ones(size)], [], threading.Event()
    training.step(gradients)

    def read():
        while not done.is_set():
            seen = weight.numpy()
            torn.extend(seen[seen != seen[0]])

    reader = threading.Thread(target=read)
    workers = [
        threading.Thread(target=lambda: [training.step(gradients) for _ in range(rounds)])
        for _ in range(threads)
    ]
    for thread in (reader, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    reader.join()
    assert torn == []
    assert np.unique(weight.numpy()).tolist() == [-0.5 * (threads * rounds + 1)]
