"""What every normalisation layer keeps to: saving, policies, training, odd inputs, masks, errors."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt import layers


def model_of(case, **compile_options):
    shape = case.x.shape[1:]
    model = keras.Sequential([keras.Input(shape, dtype=case.layer.dtype), case.layer])
    model.compile("sgd", "mse", **compile_options)
    return model


def test_saved_models_answer_the_same(row, problem, saved_and_loaded, tmp_path):
    case = problem(row)
    model = model_of(case)
    x = case.x.astype(np.float32)
    again = saved_and_loaded(model, tmp_path)
    assert type(again.layers[-1]) is type(case.layer)
    assert again.layers[-1].get_config() == case.layer.get_config()
    np.testing.assert_array_equal(model(x), again(x))


def test_configuration_holds_every_argument(row):
    layer = row.make(epsilon=0.5, gamma_regularizer=keras.regularizers.L2(0.1), beta_constraint="non_neg")
    signature = set(inspect.signature(type(layer).__init__).parameters) - {"self", "options"}
    config = layer.get_config()
    assert signature | {"epsilon", "center", "scale", "gamma_initializer"} <= config.keys()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    again.build(row.shape)
    assert again.get_config() == config
    assert float(again.gamma_regularizer(np.ones(4))) == pytest.approx(0.4)
    assert isinstance(again.beta_constraint, keras.constraints.NonNeg)


def test_scale_and_offset_can_be_left_out(row, problem):
    case = problem(row, dtype="float64")
    bare = row.make(center=False, scale=False, epsilon=1e-3, dtype="float64")
    training = {"training": True} if isinstance(bare, layers.BatchNormalization) else {}
    y = bare(case.x, **training)
    assert bare.trainable_variables == []
    case.layer.gamma.assign(np.ones(case.layer.gamma.shape))
    case.layer.beta.assign(np.zeros(case.layer.beta.shape))
    np.testing.assert_allclose(y, case.call(case.x), rtol=1e-14)


def test_shapes_are_known_without_running(row):
    layer = row.make(dtype="bfloat16")
    symbolic = layer(keras.KerasTensor((None, *row.shape[1:]), dtype="float32"))
    assert symbolic.shape == (None, *row.shape[1:])
    assert symbolic.dtype == "bfloat16"


def test_integers_are_taken_in_the_layers_dtype(row):
    layer = row.make()
    x = np.arange(np.prod(row.shape)).reshape(row.shape)
    np.testing.assert_array_equal(layer(x), layer(x.astype(np.float32)))


@pytest.mark.parametrize("name", ["layer of two axes", "batch 2-D"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
def test_policies_train(name, policy, rows):
    """`fit` under each dtype policy: output dtype, finite and moving weights."""
    row = rows[name]
    layer = row.make(dtype=policy)
    model = keras.Sequential([keras.Input(row.shape[1:]), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 8, *row.shape[1:])).astype(np.float32)
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    assert model(x).dtype == layer.compute_dtype
    assert layer.gamma.dtype == layer.variable_dtype
    assert np.all(np.isfinite(layer.gamma.numpy()))
    assert not np.all(layer.gamma.numpy() == 1.0)


@pytest.mark.parametrize("name", ["layer", "group 2-D", "batch 2-D"])
def test_compiled_training_is_plain_training(name, rows, problem):
    weights = []
    for jit_compile in (False, True):
        case = problem(rows[name])
        model = model_of(case, jit_compile=jit_compile)
        model.fit(case.x, case.upstream, batch_size=2, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for plain, compiled in zip(*weights, strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["layer", "group 2-D", "batch dense", "batch, unit"])
def test_a_frozen_layer_stays_as_it_is(name, rows, problem):
    case = problem(rows[name])
    model = keras.Sequential([keras.Input(case.x.shape[1:]), case.layer, keras.layers.Dense(1)])
    case.layer.trainable = False
    model.compile("sgd", "mse")
    before = case.layer.get_weights()
    targets = np.zeros((len(case.x), *model.output_shape[1:]))
    model.fit(case.x, targets, verbose=0)
    for old, new in zip(before, case.layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# -- Odd inputs ------------------------------------------------------------------------------------------


def test_an_empty_batch(row, problem):
    case = problem(row)
    before = case.layer.get_weights()
    empty = np.zeros((0, *case.x.shape[1:]), np.float32)
    y, by_x, by_gamma, by_beta = case.gradients(empty, empty)
    assert y.shape == by_x.shape == empty.shape
    assert not np.any(by_gamma)
    assert not np.any(by_beta)
    for old, new in zip(before, case.layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_constant_input_is_answered_with_the_offset(row, problem):
    """Whatever its size: normalised it is 0 to rounding, and the gradients are finite."""
    case = problem(row)
    large = np.full(case.x.shape, 12345.678, np.float32)
    y, *gradients = case.gradients(large, case.upstream.astype(np.float32))
    offset = np.broadcast_to(case.beta, case.row.view).reshape(case.x.shape)
    np.testing.assert_allclose(y, offset, atol=1e-6)
    assert all(np.all(np.isfinite(part)) for part in gradients)


def test_a_large_mean_costs_no_digits(row, problem):
    """1e4 + noise in float32: as the reference on the same rounded numbers, to rounding of the mean."""
    case = problem(row)
    case.x = (1e4 + case.x).astype(np.float32)
    found = case.gradients(case.x, case.upstream.astype(np.float32))
    case.x = case.x.astype(np.float64)
    for part, expected in zip(found, case.expected(), strict=True):
        np.testing.assert_allclose(part, expected, atol=2e-3 * np.abs(expected).max())


def test_one_sample_does_not_see_the_others(row_of_a_sample, problem):
    """Outputs and input gradients, to the bit, also beside a sample of NaN."""
    case = problem(row_of_a_sample)
    x, upstream = case.x.astype(np.float32), case.upstream.astype(np.float32)
    y, by_x, *_ = case.gradients(x, upstream)
    spoilt = x.copy()
    spoilt[0] = np.nan
    beside, by_beside, *_ = case.gradients(spoilt, upstream)
    assert np.all(np.isnan(beside[0]))
    np.testing.assert_array_equal(beside[1:], y[1:])
    np.testing.assert_array_equal(by_beside[1:], by_x[1:])
    alone, by_alone, *_ = case.gradients(x[:1], upstream[:1])
    np.testing.assert_allclose(alone, y[:1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_alone, by_x[:1], rtol=1e-4, atol=1e-6)


# -- Other inputs than a layer was built for -----------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 6), (4, 2, 3, 6)])
def test_layer_normalization_serves_every_rank(shape):
    """Built for another one, in training and at inference: γ, β, gradients and all as built for this one."""
    rng = np.random.default_rng(0)
    x, upstream = rng.normal(size=(2, *shape))
    found = []
    for built_for in ((None, 3, 6), shape):
        layer = layers.LayerNormalization(dtype="float64")
        layer.build(built_for)
        layer.gamma.assign(np.arange(1.0, 7.0))
        layer.beta.assign(np.arange(6.0))
        with tf.GradientTape() as tape:
            tensor = tf.constant(x)
            tape.watch(tensor)
            y = layer(tensor, training=True)
        weights = [tensor, *(weight.value for weight in layer.trainable_variables)]
        found.append([y, layer(x), *tape.gradient(y, weights, output_gradients=tf.constant(upstream))])
    for part, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(part, expected)
    keras_layer = keras.layers.LayerNormalization(dtype="float64")
    keras_layer.build(shape)
    keras_layer.set_weights([np.arange(1.0, 7.0), np.arange(6.0)])
    np.testing.assert_allclose(found[0][0], keras_layer(x), rtol=1e-12)


def test_layer_normalization_of_several_axes_serves_every_rank():
    layer = layers.LayerNormalization(axis=(-3, -1), dtype="float64")
    layer.build((None, 4, 5, 6))
    layer.gamma.assign(np.random.default_rng(1).normal(size=(4, 6)))
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 6))
    np.testing.assert_allclose(layer(x)[1], layer(x[1]), rtol=1e-12)


def test_a_model_that_shares_a_layer_between_ranks(saved_and_loaded, tmp_path):
    layer, inputs = layers.LayerNormalization(), keras.Input((5, 6))
    model = keras.Model(inputs, layer(keras.layers.GlobalAveragePooling1D()(layer(inputs))))
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 5, 6)).astype(np.float32)
    model.fit(x, np.ones((8, 6)), verbose=0)
    expected = layers.LayerNormalization()
    expected.build((None, 6))
    expected.set_weights(layer.get_weights())
    np.testing.assert_allclose(model(x), expected(tf.reduce_mean(expected(x), 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(saved_and_loaded(model, tmp_path)(x), model(x))


UNFIT = {
    "layer, features": (layers.LayerNormalization, (8, 6), (8, 1), "expected axis -1 of input shape to have"),
    "layer, no axis": (
        lambda **k: layers.LayerNormalization(axis=(-2, -1), **k),
        *((8, 5, 6), (8, 6), "expected min_ndim=3, found ndim=2"),
    ),
    "layer, counted from the start": (
        lambda **k: layers.LayerNormalization(axis=1, **k),
        *((8, 5, 6), (8, 5), "expected ndim=3, found ndim=2"),
    ),
    "instance, channels": (layers.InstanceNormalization, (8, 5, 6), (8, 5, 1), "expected axis 2 of input"),
    "instance, rank": (
        layers.InstanceNormalization,
        (8, 5, 6),
        (8, 5, 5, 6),
        "expected ndim=3, found ndim=4",
    ),
    "instance, positions": (
        lambda **k: layers.InstanceNormalization(scale_shape="element", **k),
        *((8, 5, 6), (8, 1, 6), "expected axis 1 of input shape to have value 5"),
    ),
    "group, channels": (
        lambda **k: layers.GroupNormalization(2, scale_shape="group", **k),
        *((8, 6), (8, 4), "expected axis 1 of input shape to have value 6"),
    ),
    "group, rank": (
        lambda **k: layers.GroupNormalization(2, **k),
        *((8, 6), (8, 5, 6), "expected ndim=2, found ndim=3"),
    ),
}


@pytest.mark.parametrize("options", [{}, {"center": False, "scale": False}], ids=["full", "bare"])
@pytest.mark.parametrize("case", UNFIT)
def test_inputs_that_do_not_fit_are_refused(case, options):
    make, built_for, given, message = UNFIT[case]
    layer = make(**options)
    layer(np.ones(built_for))
    with pytest.raises(ValueError, match=message):
        layer(np.ones(given))
    with pytest.raises(ValueError, match=message):
        layer(keras.Input(given[1:]))


# -- Masks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [layers.InstanceNormalization, lambda **k: layers.GroupNormalization(2, **k)]
)
def test_masked_positions_do_not_count(make):
    """A padded sequence is normalised as the sequence alone, whatever the padding holds."""
    rng = np.random.default_rng(0)
    x, upstream = rng.normal(size=(2, 3, 7, 4))
    mask = np.arange(7) < np.array([[7], [5], [2]])
    x[~mask] = np.nan
    layer = make(dtype="float64")
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        y = layer(tensor, mask=mask)
    gradient = tape.gradient(y, tensor, output_gradients=tf.constant(upstream)).numpy()
    for sample, length in enumerate((7, 5, 2)):
        part = tf.constant(x[sample : sample + 1, :length])
        with tf.GradientTape() as tape:
            tape.watch(part)
            alone = layer(part)
        by_part = tape.gradient(
            alone, part, output_gradients=tf.constant(upstream[sample : sample + 1, :length])
        )
        np.testing.assert_allclose(y[sample, :length], alone[0], rtol=1e-12)
        np.testing.assert_allclose(gradient[sample, :length], by_part[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(y[sample, length:], np.zeros((7 - length, 4)))
        assert not np.any(gradient[sample, length:])


@pytest.mark.parametrize("name", ["instance 1-D", "group 1-D first", "batch, unit"])
def test_scale_and_offset_learn_from_what_they_reach(name, rows, problem):
    """Of masked elements, which come out as β, the gradient goes to β alone: against differences."""
    case = problem(rows[name], dtype="float64")
    positions = case.x.shape[2 if "first" in name else 1]
    mask = np.random.default_rng(0).random((len(case.x), positions)) < 0.7
    extra = {"training": True} if isinstance(case.layer, layers.BatchNormalization) else {}
    case.call = lambda x: case.layer(x, mask=mask, **extra)
    _, _, *gradients = case.gradients(case.x, case.upstream)
    for weight, gradient in zip(case.layer.trainable_variables, gradients, strict=True):
        start, direction = weight.numpy(), np.random.default_rng(1).normal(size=weight.shape)
        change = []
        for sign in (1, -1):
            weight.assign(start + sign * direction)
            change.append(float(np.sum(case.call(case.x) * case.upstream)))
        weight.assign(start)
        np.testing.assert_allclose(np.sum(gradient * direction), (change[0] - change[1]) / 2, rtol=1e-9)


# The layer on images of four channels, and the axes of its statistics once channels are split in two groups.
OF_IMAGES = {
    "instance": (layers.InstanceNormalization, (1, 2)),
    "group": (lambda **k: layers.GroupNormalization(2, **k), (1, 2, 4)),
    "batch": (layers.BatchNormalization, (0, 1, 2)),
    "batch, unit": (lambda **k: layers.BatchNormalization(per="unit", **k), 0),
}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", OF_IMAGES)
def test_masked_pixels_do_not_count(name, first):
    """Images of different sizes in one batch: NumPy over the pixels that are theirs."""
    make, axes = OF_IMAGES[name]
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(3, 5, 4, 4)), rng.random((3, 5, 4)) < 0.7
    mask[0] = True
    x[~mask] = np.nan
    split = x.reshape(3, 5, 4, 2, 2)
    mean, variance = np.nanmean(split, axes, keepdims=True), np.nanvar(split, axes, keepdims=True)
    expected = np.nan_to_num((split - mean) / np.sqrt(variance + 1e-3)).reshape(x.shape)
    layer = make(dtype="float64", axis=1 if first else -1)
    training = {"training": True} if name.startswith("batch") else {}
    y = layer(np.moveaxis(x, -1, 1) if first else x, mask=mask, **training).numpy()
    np.testing.assert_allclose(np.moveaxis(y, 1, -1) if first else y, expected, rtol=1e-10, atol=1e-12)


def test_channels_first_masks_lack_the_channel_axis():
    x = np.random.default_rng(0).normal(size=(2, 4, 6))
    mask = np.arange(6) < np.array([[6], [3]])
    first = layers.InstanceNormalization(axis=1, dtype="float64")(x, mask=mask)
    last = layers.InstanceNormalization(dtype="float64")(x.swapaxes(1, 2), mask=mask)
    np.testing.assert_allclose(first, np.swapaxes(last, 1, 2), rtol=1e-12)


def test_layer_normalization_of_features_ignores_the_mask():
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    layer = layers.LayerNormalization(dtype="float64")
    np.testing.assert_array_equal(layer(x, mask=np.zeros((2, 5), bool)), layer(x))


def test_layer_normalization_over_time_counts_the_mask():
    x = np.random.default_rng(0).normal(size=(1, 5, 3))
    layer = layers.LayerNormalization(axis=(1, 2), center=False, scale=False, dtype="float64")
    masked = layer(x, mask=np.array([[True, True, False, False, True]]))
    alone = layers.LayerNormalization(axis=(1, 2), dtype="float64")(x[:, [0, 1, 4]])
    np.testing.assert_allclose(masked[:, 0:2], alone[:, 0:2], rtol=1e-12)


def test_masks_pass_through():
    embedded = keras.layers.Embedding(5, 4, mask_zero=True)(np.array([[1, 2, 0]]))
    for layer in (layers.LayerNormalization(), layers.GroupNormalization(2), layers.BatchNormalization()):
        mask = keras.src.backend.get_keras_mask(layer(embedded))
        assert mask.numpy().tolist() == [[True, True, False]]


# -- Errors ----------------------------------------------------------------------------------------------

REFUSED = [
    (lambda: layers.LayerNormalization(scale_shape="group"), "scale_shape='group'"),
    (lambda: layers.LayerNormalization(epsilon=-1.0), "epsilon=-1.0"),
    (lambda: layers.InstanceNormalization(scale_shape="group"), "expected one of 'channel', 'element'"),
    (lambda: layers.GroupNormalization(0), "groups=0"),
    (lambda: layers.GroupNormalization(2.0), "groups=2.0"),
    (lambda: layers.BatchNormalization(momentum=1.0), "0 <= momentum < 1"),
    (lambda: layers.BatchNormalization(per="layer"), "'channel', 'unit'"),
    (lambda: layers.BatchNormalization(synchronized="yes"), "synchronized='yes'"),
    (
        lambda: layers.GroupNormalization(8).build((None, 12)),
        "a divisor of the 12 channels: 1, 2, 3, 4, 6, 12",
    ),
    (lambda: layers.GroupNormalization(2).build((None, 3, None)), "known lengths"),
    (lambda: layers.InstanceNormalization().build((None, 3)), "at least one axis of positions"),
    (lambda: layers.InstanceNormalization(scale_shape="element").build((None, None, 3)), "known lengths"),
    (lambda: layers.LayerNormalization(axis=0).build((2, 3)), "an axis from 1 to 1"),
    (lambda: layers.LayerNormalization(axis=(1, -1)).build((2, 3)), "several different ones"),
    (lambda: layers.LayerNormalization(axis=1, scale_shape="channel").build((2, 3, 4)), "the last axis"),
    (lambda: layers.BatchNormalization(axis=4).build((2, 3)), "an axis from 0 to 1"),
    (lambda: layers.InstanceNormalization()(np.ones((2, 3, 4)), mask=np.ones((2, 3, 4, 1))), "mask="),
    (lambda: layers.LayerNormalization(axis="last"), "axis='last'): expected an integer or several"),
    (lambda: layers.LayerNormalization(axis=()), "axis=()"),
    (lambda: layers.LayerNormalization(axis=(1, 2.5)), "axis=(1, 2.5)"),
    (lambda: layers.GroupNormalization(True), "groups=True"),
    (lambda: layers.BatchNormalization(center="no"), "center='no'): expected True or False"),
    (lambda: layers.LayerNormalization(scale=None), "scale=None): expected True or False"),
    (lambda: layers.GroupNormalization(2, fused=1), "fused=1): expected True or False"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refusals_say_what_is_allowed(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)


KINDS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.InstanceNormalization,
)


@pytest.mark.parametrize("axis", [None, 1.5, True, [1.7], "last"], ids=repr)
@pytest.mark.parametrize("make", KINDS)
def test_an_axis_is_an_integer(make, axis):
    with pytest.raises(ValueError, match=rf"^{make.__name__}\(axis=.*\): expected an integer"):
        make(axis=axis)


@pytest.mark.parametrize("make", KINDS)
def test_integers_of_numpy_are_taken(make):
    """And kept as Python's, so that the configuration is JSON."""
    more = {"groups": np.int64(2)} if make is layers.GroupNormalization else {}
    layer = make(axis=np.int64(-1), **more)
    own = {name: layer.get_config()[name] for name in layer.arguments}
    assert json.loads(json.dumps(own)) == own
    assert layer(np.ones((2, 3, 4))).shape == (2, 3, 4)
    assert layers.LayerNormalization(axis=[np.int32(1), 2]).axis == (1, 2)


@pytest.mark.parametrize(
    ("scale_shape", "first", "last"),
    [
        ("channel", (6,), (6,)),
        ("group", (2,), (2,)),
        ("element", (6, 4, 5), (4, 5, 6)),
        ("group_element", (2, 4, 5), (4, 5, 2)),
    ],
)
def test_shapes_of_the_scale(scale_shape, first, last):
    for axis, shape, expected in ((1, (3, 6, 4, 5), first), (-1, (3, 4, 5, 6), last)):
        layer = layers.GroupNormalization(2, axis=axis, scale_shape=scale_shape)
        layer.build(shape)
        assert layer.gamma.shape == layer.beta.shape == expected
