"""The layers on the fused kernels: where these serve, that they change nothing else, how to do without."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.kernels import library


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """The library, without which there is nothing to test here."""
    found = library.load()
    if found.reason:
        pytest.skip(found.reason)
    return found


def operations(function, *arguments, **options):
    """Names of the operations of a traced function, those of functions within it too."""
    graph = tf.function(function, autograph=False, **options).get_concrete_function(*arguments).graph
    inside = [node.op for f in graph.as_graph_def().library.function for node in f.node_def]
    return [op.type for op in graph.get_operations()] + inside


def trained(case, dtype="float32"):
    """Operations of a training step of a problem's layer, for batches of any size."""
    signature = tf.TensorSpec([None, *case.x.shape[1:]], dtype)
    return operations(lambda x: case.gradients(x, tf.ones_like(x)), signature)


def test_every_layer_trains_on_them(row, problem):
    found = trained(problem(row))
    assert found.count("TfoptNormalize") == found.count("TfoptNormalizeBackward") == 1
    assert not {"Mean", "SquaredDifference", "Rsqrt"} & set(found)


def origin(tensor):
    """What made a tensor, which may have another shape since."""
    while tensor.op.type in ("Reshape", "Identity", "StopGradient", "BroadcastTo"):
        tensor = tensor.op.inputs[0]
    return tensor.op.type, tensor.value_index


def test_between_the_passes_nothing_is_kept_but_the_input_and_the_statistics(row, problem):
    """As torch keeps them; y, and x normalised, may go."""
    case = problem(row)
    step = tf.function(lambda x, upstream: case.gradients(x, upstream), autograph=False)
    signature = tf.TensorSpec([None, *case.x.shape[1:]], tf.float32)
    graph = step.get_concrete_function(signature, signature).graph
    (backward,) = (op for op in graph.get_operations() if op.type == "TfoptNormalizeBackward")
    x, _, gamma, mean, variance = map(origin, backward.inputs)
    assert (x, gamma) == (("Placeholder", 0), ("ReadVariableOp", 0))
    assert (mean, variance) == (("TfoptNormalize", 1), ("TfoptNormalize", 2))


def test_without_them_if_asked(row, problem):
    assert not [name for name in trained(problem(row, fused=False)) if name.startswith("Tfopt")]


def test_a_switch_of_the_environment(rows, problem, monkeypatch):
    monkeypatch.setenv("TFOPT_KERNELS", "off")
    assert not [name for name in trained(problem(rows["layer"])) if name.startswith("Tfopt")]


def test_inference_needs_nothing_of_tfopt(row, problem):
    """So that an exported model runs where tfopt is not."""
    case = problem(row)
    signature = tf.TensorSpec([None, *case.x.shape[1:]], tf.float32)
    found = operations(lambda x: case.layer(x, training=False), signature)
    assert not [name for name in found if name.startswith("Tfopt")]


@pytest.mark.parametrize("name", ["layer", "group 2-D"])
def test_an_exported_model_runs_without_them(name, rows, problem, tmp_path):
    case = problem(rows[name])
    model = keras.Sequential([keras.Input(case.x.shape[1:]), case.layer])
    model.export(tmp_path, verbose=False)
    assert b"TfoptNormalize" not in (tmp_path / "saved_model.pb").read_bytes()
    served, x = tf.saved_model.load(tmp_path), case.x.astype(np.float32)
    np.testing.assert_allclose(served.serve(x), case.call(x), rtol=1e-5, atol=1e-5)


def test_masks_and_float64_are_left_to_tensorflow(rows, problem):
    case = problem(rows["layer of two axes"])
    mask = tf.constant(np.arange(12).reshape(3, 4) % 3 > 0)
    x = tf.constant(case.x, tf.float32)
    for found in (
        operations(lambda: case.layer(x, mask=mask, training=True)),
        trained(problem(rows["layer of two axes"], dtype="float64"), "float64"),
    ):
        assert not [name for name in found if name.startswith("Tfopt")]


def test_an_unknown_length_that_parameters_repeat_over_is_left_to_tensorflow(rows, problem):
    """The kernels must know the run of a parameter: with channels first, the positions."""
    case = problem(rows["instance 2-D first"])
    signature = tf.TensorSpec([None, 4, None, None], tf.float32)
    run = tf.function(lambda x: case.layer(x, training=True), input_signature=[signature])
    x = case.x.astype(np.float32)
    np.testing.assert_allclose(run(x), case.call(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["layer of two axes", "instance 3-D", "group 2-D", "batch 2-D"])
def test_unknown_lengths(name, rows, problem):
    """Of all axes that no parameter needs."""
    case = problem(rows[name])
    known = {axis for axis, n in enumerate(case.layer.view) if n != 1} if name.startswith("layer") else {-1}
    rank = case.x.ndim
    shape = [n if axis in known or axis - rank in known else None for axis, n in enumerate(case.x.shape)]
    spec = tf.TensorSpec(shape, tf.float32)
    run = tf.function(case.gradients, input_signature=[spec, spec])
    x, upstream = case.x.astype(np.float32), case.upstream.astype(np.float32)
    assert "TfoptNormalize" in operations(lambda: case.layer(tf.constant(x), training=True))
    for found, expected in zip(run(x, upstream), case.expected(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_second_derivatives_are_those_of_the_formulas(row, problem, jit_compile):
    def product(fused):
        case = problem(row, fused=fused)
        upstream = tf.constant(case.upstream, tf.float32)

        @tf.function(jit_compile=jit_compile)
        def run(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    loss = tf.reduce_sum(upstream * case.layer(x, training=True) ** 2)
                slope = tf.reduce_sum(inner.gradient(loss, x) * upstream)
            return outer.gradient(slope, [x, *case.layer.trainable_variables])

        return run(tf.constant(case.x, tf.float32))

    for with_kernels, without in zip(product(True), product(False), strict=True):
        scale = np.max(np.abs(without))
        np.testing.assert_allclose(with_kernels, without, rtol=0, atol=1e-5 * scale)


QUICK = [("layer", True), ("batch 2-D", False)]
PATHS = [
    (name, jit) if (name, jit) in QUICK else pytest.param(name, jit, marks=pytest.mark.slow)
    for name in ("layer", "group 2-D", "batch 2-D")
    for jit in (False, True)
]


@pytest.mark.parametrize(("name", "jit_compile"), PATHS)
def test_training_takes_the_same_path(name, rows, jit_compile):
    def history(fused):
        keras.utils.set_random_seed(0)
        row = rows[name]
        model = keras.Sequential([keras.Input(row.shape[1:]), keras.layers.Dense(6), row.make(fused=fused)])
        if name == "batch 2-D":
            model = keras.Sequential(
                [keras.Input(row.shape[1:]), row.make(fused=fused), keras.layers.Dense(6)]
            )
        model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit_compile)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(32, *row.shape[1:])).astype(np.float32)
        y = rng.normal(size=(32, *model.output_shape[1:])).astype(np.float32)
        losses = model.fit(x, y, batch_size=8, epochs=5, verbose=0).history["loss"]
        return losses, model.predict(x, verbose=0)

    for found, expected in zip(history(True), history(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


def test_recurrent_cells_train_on_them():
    rnn = keras.layers.RNN(tfopt.layers.LayerNormLSTMCell(4))

    def gradient(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(rnn(x, training=True) ** 2)
        return tape.gradient(loss, rnn.trainable_variables)

    found = operations(gradient, tf.TensorSpec([2, 5, 3], tf.float32))
    assert {"TfoptNormalize", "TfoptNormalizeBackward"} <= set(found)


@pytest.mark.parametrize("synchronized", [False, True])
def test_replicas_that_normalise_as_one_batch_are_left_to_tensorflow(strategy, synchronized):
    with strategy.scope():
        layer = tfopt.layers.BatchNormalization(synchronized=synchronized)
        layer.build((None, 3))
    x = tf.ones((4, 3))
    found = operations(lambda: strategy.run(lambda: layer(x, training=True)))
    assert ("TfoptNormalize" in found) is not synchronized
    assert "TfoptNormalize" in operations(lambda: layer(x, training=True))


@pytest.mark.parametrize("bad", [None, 1, "yes"])
def test_the_switch_is_true_or_false(bad):
    with pytest.raises(ValueError, match="fused"):
        tfopt.layers.LayerNormalization(fused=bad)
