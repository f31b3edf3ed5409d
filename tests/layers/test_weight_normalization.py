"""WeightNormalization: every kind of layer, gradients of both orders, the first batch, saving, removal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.layers import Maxout, WeightNormalization, Whitening
from tfopt.layers._weight_normalization import _glue

L = keras.layers
IMAGES, SERIES, ROWS = (6, 8, 9, 4), (6, 7, 4), (6, 5)

# Layer, shape of the input, for each kernel the axes its units are counted by.
CASES = {
    "dense": (lambda: L.Dense(3), ROWS, [(1,)]),
    "dense on sequences": (lambda: L.Dense(3), SERIES, [(1,)]),
    "conv1d": (lambda: L.Conv1D(3, 2), SERIES, [(2,)]),
    "conv2d": (lambda: L.Conv2D(3, 2, groups=1, strides=2), IMAGES, [(3,)]),
    "grouped": (lambda: L.Conv2D(4, 2, groups=2), IMAGES, [(3,)]),
    "conv3d": (lambda: L.Conv3D(3, 2), (2, 4, 4, 4, 2), [(4,)]),
    "conv1d transposed": (lambda: L.Conv1DTranspose(3, 2), SERIES, [(1,)]),
    "conv2d transposed": (lambda: L.Conv2DTranspose(3, 2, strides=2), IMAGES, [(2,)]),
    "conv3d transposed": (lambda: L.Conv3DTranspose(3, 2), (2, 3, 3, 3, 2), [(3,)]),
    "depthwise1d": (lambda: L.DepthwiseConv1D(3, depth_multiplier=2), SERIES, [(1, 2)]),
    "depthwise2d": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), IMAGES, [(2, 3)]),
    "separable1d": (lambda: L.SeparableConv1D(3, 2), SERIES, [(1, 2), (2,)]),
    "separable2d": (lambda: L.SeparableConv2D(3, 2, depth_multiplier=2), IMAGES, [(2, 3), (3,)]),
    "einsum": (lambda: L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), SERIES, [(1, 2)]),
    "embedding": (lambda: L.Embedding(9, 3), "tokens", [(0,)]),
    "simple rnn": (lambda: L.SimpleRNN(3), SERIES, [(1,), (1,)]),
    "lstm": (lambda: L.LSTM(3, return_sequences=True), SERIES, [(1,), (1,)]),
    "gru": (lambda: L.GRU(3), SERIES, [(1,), (1,)]),
    "conv lstm": (lambda: L.ConvLSTM1D(3, 2), IMAGES, [(2,), (2,)]),
    "bidirectional": (lambda: L.Bidirectional(L.LSTM(3)), SERIES, [(1,)] * 4),
    "rnn": (lambda: L.RNN(L.StackedRNNCells([L.GRUCell(3), L.LSTMCell(2)])), SERIES, [(1,)] * 4),
    "time distributed": (lambda: L.TimeDistributed(L.Dense(3)), SERIES, [(1,)]),
}
# Those that the first batch starts.
STARTED = [name for name in CASES if name.startswith(("dense", "conv", "grouped", "depthwise", "separable"))]
STARTED.remove("conv lstm")


def data(shape, seed=0):
    if shape == "tokens":
        return np.random.default_rng(seed).integers(0, 9, size=(6, 5))
    return np.random.default_rng(seed).normal(0.5, 2.0, size=shape).astype(np.float32)


def normalized(v, g, axes):
    """g v/‖v‖ in float64."""
    v = np.asarray(v, np.float64)
    others = tuple(axis for axis in range(v.ndim) if axis not in axes)
    shape = [n if axis in axes else 1 for axis, n in enumerate(v.shape)]
    return v / np.sqrt((v**2).sum(axis=others, keepdims=True)) * np.reshape(g, shape)


def kernel_and_length(wrapper):
    """v and g of a layer with one kernel."""
    (v,) = (w for w in wrapper.weights if is_kernel(w))
    (g,) = (w for w in wrapper.weights if w.name.endswith("_g"))
    return v, g


def is_kernel(weight):
    return weight.name.endswith("kernel") or weight.name == "embeddings"


def scrambled(wrapper, seed=1):
    """Give v and g values of their own."""
    rng = np.random.default_rng(seed)
    for weight in wrapper.trainable_weights:
        weight.assign(rng.uniform(0.5, 1.5, size=weight.shape) * rng.choice([-1, 1], size=weight.shape))


def reference(make, wrapper, axes):
    """A plain layer that holds what the wrapped one's weights mean."""
    kernels = [w for w in wrapper.layer.weights if is_kernel(w)]
    lengths = [w for w in wrapper.weights if w.name.endswith("_g")]
    assert len(kernels) == len(lengths) == len(axes)
    meant = {
        id(v): normalized(v.numpy(), g.numpy(), a) for v, g, a in zip(kernels, lengths, axes, strict=True)
    }
    plain = make()
    plain.build(wrapper.layer.get_build_config()["input_shape"])
    plain.set_weights([meant.get(id(weight), weight.numpy()) for weight in wrapper.layer.weights])
    return plain


# Their kernels are tested as all others are; what else they do is what a kind beside them does too.
LIKE_OTHERS = ("conv1d", "conv3d", "conv1d transposed", "conv3d transposed", "depthwise1d", "separable1d")
LIKE_OTHERS += ("conv lstm", "bidirectional", "simple rnn")
KINDS = [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in CASES]


@pytest.fixture(params=KINDS, ids=str)
def case(request):
    return CASES[request.param]


def wrapped(make, x, **options):
    keras.utils.set_random_seed(0)
    wrapper = WeightNormalization(make(), **options)
    wrapper.build(x.shape)
    return wrapper


def test_wrapping_changes_nothing(case):
    make, shape, _ = case
    x = data(shape)
    keras.utils.set_random_seed(0)
    plain = make()
    expected = plain(x).numpy()
    wrapper = wrapped(make, x)
    np.testing.assert_allclose(wrapper(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    for kernel, found in zip((w for w in plain.weights if is_kernel(w)), wrapper.kernels, strict=True):
        np.testing.assert_allclose(found.numpy(), kernel.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_length_times_direction_of_each_unit(name):
    make, shape, axes = CASES[name]
    x = data(shape)
    wrapper = wrapped(make, x)
    scrambled(wrapper)
    plain = reference(make, wrapper, axes)
    np.testing.assert_allclose(wrapper(x).numpy(), plain(x).numpy(), rtol=1e-5, atol=1e-5)
    for weight, found in zip((w for w in plain.weights if is_kernel(w)), wrapper.kernels, strict=True):
        np.testing.assert_allclose(found.numpy(), weight.numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_follow_the_paper(case):
    """∇_g = ∇_w·v/‖v‖ and ∇_v = g/‖v‖ ∇_w − g ∇_g/‖v‖² v, with ∇_w of the plain layer."""
    make, shape, axes = case
    x = data(shape)
    wrapper = wrapped(make, x)
    scrambled(wrapper)
    plain = reference(make, wrapper, axes)

    def gradients(layer, weights):
        with tf.GradientTape() as tape:
            y = layer(x)
            loss = tf.reduce_sum(tf.sin(y) * tf.range(tf.size(y), dtype=y.dtype)[: tf.shape(y)[-1]])
        found = tape.gradient(loss, [w.value for w in weights])
        return [tf.convert_to_tensor(g).numpy().astype(np.float64) for g in found]

    by_w = gradients(plain, [w for w in plain.weights if is_kernel(w)])
    vs = [w for w in wrapper.layer.weights if is_kernel(w)]
    gs = [w for w in wrapper.weights if w.name.endswith("_g")]
    by_v, by_g = gradients(wrapper, vs), gradients(wrapper, gs)
    for index, units in enumerate(axes):
        v, g = vs[index].numpy().astype(np.float64), gs[index].numpy()
        others = tuple(axis for axis in range(v.ndim) if axis not in units)
        norm = np.sqrt((v**2).sum(axis=others, keepdims=True))
        want_g = (by_w[index] * v / norm).sum(axis=others, keepdims=True)
        wide = np.reshape(g, norm.shape)
        want_v = wide / norm * by_w[index] - wide * want_g / norm**2 * v
        scale = np.abs(by_w[index]).max()
        np.testing.assert_allclose(by_g[index], want_g.reshape(g.shape), rtol=1e-3, atol=1e-4 * scale)
        np.testing.assert_allclose(by_v[index], want_v, rtol=1e-3, atol=1e-4 * scale)
        # The step of v is orthogonal to v.
        assert np.abs((by_v[index] * v).sum(axis=others)).max() < 1e-4 * scale * norm.max()


def moments(y, channels=-1):
    y = np.moveaxis(np.asarray(y, np.float64), channels, -1)
    return y.reshape(-1, y.shape[-1]).mean(axis=0), y.reshape(-1, y.shape[-1]).std(axis=0)


def modes(f):
    return {"eager": f, "graph": tf.function(f), "jit": tf.function(f, jit_compile=True)}


@pytest.mark.parametrize("name", [kind for kind in KINDS if getattr(kind, "values", [kind])[0] in STARTED])
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_first_batch_gives_units_mean_0_and_variance_1(name, mode):
    make, shape, axes = CASES[name]
    x = data(shape)
    wrapper = wrapped(make, x)
    scrambled(wrapper)
    before = [weight.numpy() for weight in wrapper.trainable_weights if is_kernel(weight)]
    call = modes(lambda x: wrapper(x, training=True))[mode]
    y = call(x)
    mean, deviation = moments(y)
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    np.testing.assert_allclose(deviation, 1, rtol=1e-4)
    assert bool(wrapper.initialized.numpy())
    # The same weights as the plain layer would need; directions are left alone.
    np.testing.assert_allclose(reference(make, wrapper, axes)(x).numpy(), y.numpy(), rtol=1e-4, atol=1e-4)
    for weight, old in zip((w for w in wrapper.trainable_weights if is_kernel(w)), before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    # Only the first batch does it, and another one in training is merely mapped.
    other = data(shape, seed=5) * 3 + 1
    expected = wrapper(other).numpy()
    np.testing.assert_allclose(call(other).numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(wrapper(x).numpy(), y.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "conv2d", "separable2d"])
def test_the_first_batch_in_a_compiled_function(name):
    make, shape, _ = CASES[name]
    x = data(shape)
    wrapper = wrapped(make, x)
    call = tf.function(lambda x: wrapper(x, training=True), jit_compile=True)
    y = call(tf.constant(x)).numpy()
    np.testing.assert_allclose(moments(y)[0], 0, atol=1e-5)
    np.testing.assert_allclose(moments(y)[1], 1, rtol=1e-4)
    np.testing.assert_allclose(call(tf.constant(x * 3)).numpy(), wrapper(x * 3).numpy(), rtol=1e-4, atol=1e-5)
    assert call.experimental_get_tracing_count() == 1


def test_the_first_batch_of_channels_first():
    wrapper = WeightNormalization(L.DepthwiseConv2D(2, depth_multiplier=3, data_format="channels_first"))
    x = data((5, 2, 6, 6))
    wrapper.build(x.shape)
    t = wrapper.layer.compute_output_shape(x.shape)
    assert t[1] == 6
    from tfopt.layers._weight_normalization import data_init

    # The CPU convolves channels last only, so the layer's call is replaced by its transpose.
    last = L.DepthwiseConv2D(2, depth_multiplier=3, data_format="channels_last")
    last.build((5, 6, 6, 2))
    twin = WeightNormalization(last)
    twin.build((5, 6, 6, 2))
    for a, b in zip(wrapper.trainable_weights, twin.trainable_weights, strict=True):
        b.assign(a)
    wrapper.layer.call = lambda x: tf.transpose(
        keras.ops.depthwise_conv(
            tf.transpose(x, [0, 2, 3, 1]), wrapper.layer.kernel, data_format="channels_last"
        )
        + wrapper.layer.bias,
        [0, 3, 1, 2],
    )
    data_init.first_batch(wrapper.layer, wrapper.normalized.kernels, wrapper.initialized, tf.constant(x))
    twin(x.transpose(0, 2, 3, 1), training=True)
    for a, b in zip(wrapper.trainable_weights, twin.trainable_weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


def network(activation="tanh"):
    return keras.Sequential(
        [
            keras.Input((5,)),
            WeightNormalization(L.Dense(8, activation, name="first"), name="one"),
            WeightNormalization(L.Dense(6, activation, name="second"), name="two"),
            L.Dense(1),
        ]
    )


@pytest.mark.parametrize(
    "options", [{"jit_compile": False}, {"jit_compile": True}, {"run_eagerly": True}], ids=str
)
def test_fit_starts_from_its_first_batch(options):
    """With a learning rate of zero the first step leaves only the start behind."""
    keras.utils.set_random_seed(1)
    model = network()
    model.compile(keras.optimizers.SGD(0.0), loss="mse", **options)
    x = data((64, 5))
    model.fit(x, np.zeros((64, 1)), batch_size=64, shuffle=False, verbose=0)
    assert all(bool(layer.initialized.numpy()) for layer in model.layers[:2])
    for layer in model.layers[:2]:
        w, b = layer.kernels[0].numpy(), layer.layer.bias.numpy()
        mean, deviation = moments(x @ w + b)
        np.testing.assert_allclose(mean, 0, atol=1e-4)
        np.testing.assert_allclose(deviation, 1, rtol=1e-3)
        x = np.tanh(x @ w + b)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_first_step_descends_from_the_start(jit_compile):
    """The first gradient is that of the initialized weights, and g and b take part in it."""
    results = []
    for early in (True, False):
        keras.utils.set_random_seed(1)
        model = network()
        model.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=jit_compile)
        x, y = data((64, 5)), data((64, 1), 3)
        if early:
            model(x, training=True)
        model.fit(x, y, batch_size=64, epochs=3, shuffle=False, verbose=0)
        results.append([weight.numpy() for weight in model.weights])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_without_data_init_training_starts_from_the_layer_as_it_is():
    x = data(ROWS)
    wrapper = wrapped(CASES["dense"][0], x, data_init=False)
    plain = reference(CASES["dense"][0], wrapper, [(1,)])
    np.testing.assert_allclose(wrapper(x, training=True).numpy(), plain(x).numpy(), rtol=1e-5)
    assert wrapper.initialized is None


def test_inference_does_not_start_it_and_neither_does_a_frozen_layer():
    x = data(ROWS)
    wrapper = wrapped(CASES["dense"][0], x)
    before = wrapper.get_weights()
    wrapper(x)
    wrapper.trainable = False
    wrapper(x, training=True)
    for a, b in zip(wrapper.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert wrapper.trainable_weights == []


def test_a_frozen_layer_inside_is_left_alone():
    x = data(ROWS)
    wrapper = wrapped(CASES["dense"][0], x)
    wrapper.layer.trainable = False
    before = wrapper.get_weights()
    wrapper(x, training=True)
    for a, b in zip(wrapper.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1e7])
def test_inputs_of_any_scale_start_it(scale):
    wrapper = WeightNormalization(L.Dense(3))
    y = wrapper(scale * data((100, 4)), training=True)
    assert wrapper.initialized.numpy()
    np.testing.assert_allclose(moments(y)[1], 1, rtol=1e-4)


@pytest.mark.parametrize("row", [12345.678, -0.1, 3e-9])
def test_rows_that_are_all_the_same_do_not(row):
    wrapper = WeightNormalization(L.Dense(3))
    x = np.full((777, 4), row, np.float32)
    np.testing.assert_array_equal(wrapper(x, training=True).numpy(), wrapper(x).numpy())
    assert not wrapper.initialized.numpy()


def test_units_that_do_not_vary_keep_theirs():
    x = data((20, 3))
    x[:, 0] = 2.0
    layer = L.Dense(2, kernel_initializer=keras.initializers.Constant([[1.0, 0], [0, 1.0], [0, 1.0]]))
    wrapper = WeightNormalization(layer)
    y = wrapper(x, training=True).numpy()
    np.testing.assert_allclose(y[:, 0], 2.0, rtol=1e-6)
    np.testing.assert_allclose(moments(y[:, 1:]), [[0], [1]], atol=1e-5)


def test_a_batch_of_one_leaves_the_start_to_the_next():
    wrapper = WeightNormalization(L.Dense(2))
    x = data((20, 3))
    np.testing.assert_array_equal(wrapper(x[:1], training=True).numpy(), wrapper(x[:1]).numpy())
    assert not wrapper.initialized.numpy()
    np.testing.assert_allclose(moments(wrapper(x, training=True))[1], 1, rtol=1e-4)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("shape", [(5,), (7, 5)], ids=str)
def test_an_empty_batch_leaves_the_start_to_the_next(shape, compiled):
    empty, x = np.ones((0, *shape), np.float32), data((20, *shape))
    wrapper = wrapped(lambda: L.Dense(3), x)
    before = wrapper.get_weights()
    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    call = lambda x: wrapper(x, training=True)  # noqa: E731
    call = tf.function(call, input_signature=signature) if compiled else call
    assert call(empty).shape == (0, *shape[:-1], 3)
    for old, new in zip(before, wrapper.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(moments(call(x)), [[0] * 3, [1] * 3], atol=1e-4)
    assert wrapper.initialized.numpy()


def test_a_zero_direction_is_zero_with_finite_gradients():
    wrapper = WeightNormalization(L.Dense(2, kernel_initializer="zeros"), data_init=False)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(wrapper(data(ROWS)) ** 2 + wrapper(data(ROWS)))
    assert all(
        np.isfinite(g).all() for g in tape.gradient(loss, [w.value for w in wrapper.trainable_weights])
    )
    np.testing.assert_array_equal(wrapper.kernels[0].numpy(), 0)


@pytest.mark.parametrize("name", ["dense", "conv2d", "depthwise2d", "gru"])
def test_second_derivatives_equal_finite_differences(name):
    make, shape, _ = CASES[name]
    keras.config.set_dtype_policy("float64")
    try:
        x = data(shape).astype(np.float64)
        wrapper = wrapped(make, x)
        scrambled(wrapper)
        weights = [weight.value for weight in wrapper.trainable_weights]
        rng = np.random.default_rng(3)
        direction = [tf.constant(rng.normal(size=w.shape)) for w in weights]

        def gradient():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.sin(wrapper(x)) ** 2)
            return tape.gradient(loss, weights)

        with tf.GradientTape() as outer:
            slope = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(gradient(), direction, strict=True)])
        product = outer.gradient(slope, weights)
        step = 1e-5
        sides = []
        for sign in (1, -2):
            for w, d in zip(weights, direction, strict=True):
                w.assign_add(sign * step * d)
            sides.append(gradient())
        for analytic, plus, minus in zip(product, *sides, strict=True):
            difference = (plus - minus).numpy() / (2 * step)
            np.testing.assert_allclose(
                analytic.numpy(), difference, rtol=1e-6, atol=1e-6 * np.abs(difference).max()
            )
    finally:
        keras.config.set_dtype_policy("float32")


def test_hessian_products_through_the_layers_of_this_package():
    """As the curvature tools take them, in a graph, against differences of the gradient."""
    keras.config.set_dtype_policy("float64")
    try:
        x, y = (data(shape).astype(np.float64) for shape in ((30, 5), (30, 1)))
        whitening, hidden = Whitening(), WeightNormalization(L.Dense(4, "tanh"))
        model = keras.Sequential(
            [keras.Input((5,)), whitening, hidden, Maxout(3, 2), WeightNormalization(L.Dense(1))]
        )
        whitening.adapt(x)
        model(x, training=True)
        model.compile("sgd", keras.losses.MeanSquaredError(dtype="float64"))
        operator = tfopt.curvature.hessian_operator(model, x, y)
        weights = model.trainable_variables
        direction = np.random.default_rng(3).normal(size=operator.shape[0])
        parts = np.split(direction, np.cumsum([w.numpy().size for w in weights])[:-1])
        sides = []
        for step in (1e-5, -2e-5):
            for weight, part in zip(weights, parts, strict=True):
                weight.assign_add(step * part.reshape(weight.shape))
            found = _gradients(lambda: tf.reduce_mean((model(x) - y) ** 2), weights)
            sides.append(np.concatenate([np.ravel(part) for part in found]))
        for weight, part in zip(weights, parts, strict=True):
            weight.assign_add(1e-5 * part.reshape(weight.shape))
        difference = (sides[0] - sides[1]) / 2e-5
        scale = np.abs(difference).max()
        np.testing.assert_allclose(operator @ direction, difference, rtol=1e-6, atol=1e-6 * scale)
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_wrapped_cell_equals_a_wrapped_layer():
    x = data(SERIES)
    keras.utils.set_random_seed(0)
    layer = WeightNormalization(L.LSTM(3, return_sequences=True))
    layer.build(x.shape)
    scrambled(layer)
    cell = L.RNN(WeightNormalization(L.LSTMCell(3)), return_sequences=True)
    cell.build(x.shape)
    scrambled(cell)
    assert [w.shape for w in cell.trainable_weights] == [w.shape for w in layer.trainable_weights]
    np.testing.assert_allclose(cell(x).numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)
    jit = tf.function(lambda x: cell(x, training=True), jit_compile=True)
    np.testing.assert_allclose(jit(x).numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)


def test_initial_states_masks_and_states_of_a_recurrent_layer():
    x, state = data(SERIES), [tf.constant(data((6, 3), 4))]
    wrapper = WeightNormalization(L.GRU(3))
    plain = L.GRU(3)
    plain.build(x.shape)
    wrapper(x, initial_state=state)
    wrapper.layer.set_weights(plain.get_weights())
    lengths = [w for w in wrapper.weights if w.name.endswith("_g")]
    for g, w in zip(lengths, plain.get_weights(), strict=False):
        g.assign(np.linalg.norm(w, axis=0))
    np.testing.assert_allclose(
        wrapper(x, initial_state=state).numpy(), plain(x, initial_state=state).numpy(), rtol=1e-5, atol=1e-6
    )
    mask = np.random.default_rng(0).random((6, 7)) < 0.5
    np.testing.assert_allclose(
        wrapper(x, mask=mask).numpy(), plain(x, mask=mask).numpy(), rtol=1e-5, atol=1e-6
    )
    masked = keras.Sequential([L.Masking(0.0), wrapper])
    zeroed = np.where(mask[..., None], x, 0)
    np.testing.assert_allclose(masked(zeroed).numpy(), plain(x, mask=mask).numpy(), rtol=1e-5, atol=1e-6)


def test_a_layer_inside_keeps_its_own_state():
    keras.utils.set_random_seed(0)
    wrapper = WeightNormalization(L.SimpleRNN(3, stateful=True))
    x = data(SERIES)
    first = wrapper(x).numpy()
    second = wrapper(x).numpy()
    assert np.abs(second - first).max() > 1e-3
    wrapper.layer.reset_state()
    np.testing.assert_allclose(wrapper(x).numpy(), first, rtol=1e-6)


def test_dropout_inside_draws_anew():
    wrapper = WeightNormalization(L.GRU(16, dropout=0.5))
    x = data(SERIES)
    assert (wrapper(x, training=True).numpy() != wrapper(x, training=True).numpy()).any()
    np.testing.assert_array_equal(wrapper(x).numpy(), wrapper(x).numpy())


def test_a_layer_of_several_inputs_is_built_before(tmp_path):
    x, z = data((6, 7, 4)), data((6, 5, 3), 2)
    attention = L.MultiHeadAttention(2, 3)
    with pytest.raises(ValueError, match="a layer that has been built, as this one takes several inputs"):
        WeightNormalization(L.MultiHeadAttention(2, 3))(x, z)
    attention.build(x.shape, z.shape)
    expected = attention(x, z).numpy()
    query, value = keras.Input((7, 4)), keras.Input((5, 3))
    model = keras.Model([query, value], WeightNormalization(attention)(query, value))
    np.testing.assert_allclose(model([x, z]).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert [tuple(w.shape) for w in model.weights if w.name.endswith("_g")] == [(2, 3)] * 3 + [(4,)]
    scrambled(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded([x, z]).numpy(), model([x, z]).numpy())


def test_an_embeddings_mask_goes_on():
    model = keras.Sequential([WeightNormalization(L.Embedding(9, 3, mask_zero=True)), L.LSTM(2)])
    tokens = np.array([[3, 4, 0, 0], [3, 4, 1, 2]])
    y = model(tokens).numpy()
    np.testing.assert_allclose(y[0], model(tokens[:1, :2]).numpy()[0], rtol=1e-5)


def test_regularizers_act_on_the_weight_and_activities_are_added_once():
    x = data(ROWS)
    layer = L.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5), activity_regularizer="l1")
    wrapper = WeightNormalization(layer, data_init=False)
    y = wrapper(x)
    scrambled(wrapper)
    y = wrapper(x)
    weight = normalized(*(w.numpy() for w in kernel_and_length(wrapper)), (1,))
    losses = sorted(float(loss) for loss in wrapper.losses)
    np.testing.assert_allclose(
        losses, sorted([0.5 * (weight**2).sum(), 0.01 * np.abs(y).sum() / len(x)]), rtol=1e-5
    )
    wrapper.remove()
    np.testing.assert_allclose(float(layer.losses[0]), 0.5 * (weight**2).sum(), rtol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_saving_and_loading(name, tmp_path):
    make, shape, _ = CASES[name]
    x = data(shape)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype.name), WeightNormalization(make())])
    model(x, training=True)
    scrambled(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x).numpy(), model(x).numpy())
    for a, b in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    # A model that has had its first batch does not take another for it.
    other = x[::-1]
    np.testing.assert_array_equal(loaded(other, training=True).numpy(), model(other).numpy())
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")


def test_a_layer_that_is_not_built_is_saved_and_copied(tmp_path):
    """As Keras' wrappers copy theirs: unbuilt, and with the weights when it is."""
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(WeightNormalization(L.Dense(3)))
    )
    assert not again.built
    json = keras.Sequential([WeightNormalization(L.Dense(3))]).to_json()
    assert keras.models.model_from_json(json).layers[0](np.ones((2, 4))).shape == (2, 3)
    timed = L.TimeDistributed(WeightNormalization(L.Dense(3)))
    assert L.TimeDistributed.from_config(timed.get_config())(np.ones((2, 5, 4))).shape == (2, 5, 3)
    both = L.Bidirectional(L.RNN(WeightNormalization(L.GRUCell(3))))
    model = keras.Sequential([keras.Input((5, 4)), both])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(data((2, 5, 4))), model(data((2, 5, 4))))


@pytest.mark.slow
def test_continued_training_after_loading_is_equal(tmp_path):
    model = network()
    model.compile(keras.optimizers.Adam(0.01), loss="mse")
    x, y = data((32, 5)), data((32, 1), 3)
    model.fit(x, y, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.fit(x, y, shuffle=False, verbose=0)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_remove_folds_the_weights(case):
    make, shape, _ = case
    x = data(shape)
    wrapper = wrapped(make, x)
    scrambled(wrapper)
    expected = wrapper(x).numpy()
    plain = wrapper.remove()
    assert plain is wrapper.layer is wrapper.remove()
    np.testing.assert_allclose(plain(x).numpy(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="folded by remove"):
        wrapper(x)


def test_what_was_traced_before_remove_computes_the_same():
    model = keras.Sequential([keras.Input((5,)), WeightNormalization(L.Dense(3), data_init=False)])
    x = data((8, 5))
    model.layers[0].normalized.kernels[0].g.assign([-1.0, 2.0, 0.0])
    expected = model.predict(x, verbose=0)
    model.layers[0].remove()
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_remove_in_a_model():
    model = network()
    x = data((8, 5))
    model(x, training=True)
    expected = model(x).numpy()
    plain = keras.models.clone_model(
        model, clone_function=lambda layer: layer.remove() if hasattr(layer, "remove") else layer
    )
    assert [type(layer).__name__ for layer in plain.layers] == ["Dense"] * 3
    np.testing.assert_allclose(plain(x).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["int8", "float8"])
@pytest.mark.parametrize("around", [lambda layer: layer, L.TimeDistributed], ids=["itself", "inside"])
def test_a_quantised_layer_is_refused(around, mode):
    x = data(SERIES)
    model = keras.Sequential([keras.Input(SERIES[1:]), WeightNormalization(around(L.Dense(3)))])
    model.predict(x, verbose=0)
    model.quantize(mode)
    for call in (model, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(ValueError, match=r"computes with v in the place of w. Call remove\(\) before"):
            call(x)


def test_remove_does_not_fold_into_a_quantised_layer():
    wrapper = wrapped(lambda: L.Dense(3), data(ROWS))
    wrapper.layer.quantize("int8")
    with pytest.raises(ValueError, match=r"remove\(layer=.*expected a layer that is not quantised yet"):
        wrapper.remove()


def test_what_remove_returns_can_be_quantised():
    x = data(ROWS)
    wrapper = wrapped(lambda: L.Dense(3), x)
    scrambled(wrapper)
    expected = wrapper(x)
    plain = wrapper.remove()
    plain.quantize("int8")
    assert wrapper.remove() is plain
    np.testing.assert_allclose(plain(x), expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("make", [lambda: L.Dense(3), lambda: L.Embedding(9, 3)], ids=["dense", "embedding"])
def test_low_rank_adaptation_comes_after_remove(make):
    x = data("tokens" if isinstance(make(), L.Embedding) else ROWS)
    wrapper = wrapped(make, x)
    scrambled(wrapper)
    expected = wrapper(x)
    wrapper.layer.enable_lora(2)
    with pytest.raises(ValueError, match=r"has LoRA enabled.* Call remove\(\) before"):
        wrapper(x)
    np.testing.assert_allclose(wrapper.remove()(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["dense", "conv2d"])
def test_other_precisions(policy, name):
    _, shape, _ = CASES[name]
    layer = L.Dense(3, dtype=policy) if name == "dense" else L.Conv2D(3, 2, dtype=policy)
    wrapper = WeightNormalization(layer)
    x = data(shape)
    y = wrapper(x, training=True)
    variable = keras.DTypePolicy(policy).variable_dtype
    assert {w.dtype for w in wrapper.trainable_weights} == {variable}
    assert keras.backend.standardize_dtype(y.dtype) == keras.DTypePolicy(policy).compute_dtype
    mean, deviation = moments(tf.cast(y, tf.float64))
    np.testing.assert_allclose(mean, 0, atol=0.02)
    np.testing.assert_allclose(deviation, 1, rtol=0.02)
    kernel, g = kernel_and_length(wrapper)
    exact = normalized(
        tf.cast(kernel, tf.float64).numpy(), tf.cast(g, tf.float64).numpy(), (len(kernel.shape) - 1,)
    )
    digits = {"float64": 1e-14, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1e-2}[variable]
    np.testing.assert_allclose(tf.cast(wrapper.kernels[0], tf.float64).numpy(), exact, rtol=digits)


def test_mixed_precision_normalizes_before_it_rounds():
    """Directions beyond what half precision holds are divided by their length first."""
    layer = L.Dense(3, dtype="mixed_float16")
    wrapper = WeightNormalization(layer, data_init=False)
    model = keras.Sequential([keras.Input((5,)), wrapper])
    x = data(ROWS)
    before = model(x).numpy()
    layer.kernel.assign(layer.kernel * 1e6)
    np.testing.assert_array_equal(model(x).numpy(), before)
    (gradient,) = _gradients(
        lambda: tf.reduce_sum(tf.cast(wrapper(x), tf.float32)), [kernel_and_length(wrapper)[1]]
    )
    assert gradient.dtype == tf.float32
    assert np.isfinite(gradient).all()


def _gradients(function, weights):
    with tf.GradientTape() as tape:
        value = function()
    return tape.gradient(value, [weight.value for weight in weights])


@pytest.mark.parametrize("around", ["mixed_float16", "float64"])
def test_a_layer_of_another_precision_than_the_model_around(around):
    for inside in ("float64", "float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        layer = L.Dense(3, dtype=inside)
        model = Late(layer, dtype=around)
        model(data(ROWS), training=True)
        assert {w.numpy().dtype.name for w in model.trainable_weights} == {layer.variable_dtype}
        mean, deviation = moments(tf.cast(model(data(ROWS)), tf.float64))
        np.testing.assert_allclose(mean, 0, atol=0.02)
        np.testing.assert_allclose(deviation, 1, rtol=0.02)


def test_mixed_precision_trains_in_fit():
    keras.utils.set_random_seed(0)
    policy = "mixed_bfloat16"
    model = keras.Sequential(
        [
            keras.Input((5,)),
            WeightNormalization(L.Dense(16, "tanh", dtype=policy)),
            L.Dense(1, dtype="float32"),
        ]
    )
    x = data((128, 5))
    model.compile(keras.optimizers.Adam(0.02), loss="mse")
    y = np.sin(x[:, :1])
    before = np.square(model(x).numpy() - y).mean()
    model.fit(tf.data.Dataset.from_tensors((x, y)).repeat(), steps_per_epoch=60, verbose=0)
    assert np.square(model(x).numpy() - y).mean() < 0.5 * before


def test_the_paper_s_directions_only_grow():
    """Orthogonal steps lengthen v."""
    model = network()
    model.compile(keras.optimizers.SGD(0.5), loss="mse")
    x, y = data((64, 5)), data((64, 1), 3)
    norms = []
    for _ in range(5):
        norms.append(np.linalg.norm(model.layers[0].layer.kernel.numpy(), axis=0))
        model.fit(x, y, verbose=0)
    assert (np.diff(norms, axis=0) >= -1e-6).all()
    assert (norms[-1] > norms[0]).all()


def test_functions_of_the_values_see_the_scope_around():
    """`stateless_call`, which Keras offers, sees values of v, g and b that the variables do not hold."""
    x = data(ROWS)
    wrapper = wrapped(CASES["dense"][0], x)
    rng = np.random.default_rng(7)
    values = {w.name: rng.normal(size=w.shape).astype(np.float32) for w in wrapper.trainable_variables}
    others = [v.value for v in wrapper.non_trainable_variables]
    y, _ = wrapper.stateless_call(list(values.values()), others, x, training=True)
    expected = x @ normalized(values["kernel"], values["kernel_g"], (1,)) + values["bias"]
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)


class Late(keras.Model):
    """Builds its layers inside its first call."""

    def __init__(self, *layers, **options):
        super().__init__(**options)
        self.wrapped = [WeightNormalization(layer) for layer in layers]

    def call(self, x, training=None):
        for layer in self.wrapped:
            x = layer(x)
        return x


def test_a_model_that_builds_its_layers_late():
    model = Late(L.Dense(4, "relu"), L.Dense(1))
    model.compile(keras.optimizers.SGD(0.0), loss="mse")
    x = data((32, 5))
    model.fit(x, np.zeros((32, 1)), batch_size=32, verbose=0)
    assert all(layer.initialized.numpy() for layer in model.wrapped)
    np.testing.assert_allclose(moments(model(x)), [[0], [1]], atol=1e-3)


def test_two_replicas_start_from_one_batch(strategy):
    """Uninitialized they are refused; once started they go on as one device does."""
    x, y = data((32, 5)), data((32, 1), 3)

    def trained(model):
        model.compile(keras.optimizers.SGD(0.1), loss="mse")
        model(x, training=True)
        model.fit(x, y, batch_size=32, epochs=3, shuffle=False, verbose=0)
        return [weight.numpy() for weight in model.weights]

    keras.utils.set_random_seed(0)
    alone = trained(network())
    with strategy.scope():
        keras.utils.set_random_seed(0)
        together = trained(network())
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        fresh = network()
        fresh.compile(keras.optimizers.SGD(0.1), loss="mse")
        with pytest.raises(ValueError, match="every replica would start from a batch of its own"):
            fresh.fit(x, y, batch_size=32, verbose=0)


def test_the_scope_around_is_where_keras_keeps_it():
    """Guards `_glue.stateless_scope`."""
    assert _glue.stateless_scope() is None
    with keras.StatelessScope() as scope:
        assert _glue.stateless_scope() is scope


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: WeightNormalization(L.BatchNormalization()).build((None, 3)),
            "a layer with a kernel or embeddings",
        ),
        (
            lambda: WeightNormalization(L.Dense(2, kernel_constraint="max_norm")).build((None, 3)),
            "kernels without a constraint",
        ),
        (lambda: WeightNormalization(L.LSTMCell(2, dropout=0.1)), "a cell without dropout, or the whole RNN"),
        (
            lambda: WeightNormalization(
                L.StackedRNNCells([L.GRUCell(2), L.GRUCell(2, recurrent_dropout=0.1)])
            ),
            "a cell without dropout, or the whole RNN",
        ),
        (lambda: WeightNormalization(L.Dense(2)).remove(), r"WeightNormalization.remove\(built=False\)"),
        (lambda: WeightNormalization(L.Dense(2)).kernels, r"WeightNormalization.kernels\(built=False\)"),
        (lambda: WeightNormalization("dense"), "supported layer type"),
        (lambda: WeightNormalization(L.Dense(2), data_init="no"), r"\(data_init='no'\): expected True or"),
    ],
)
def test_errors_say_what_is_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# (Keras layer, torch layer, axes that take Keras' kernel to torch's, torch's axis of the units, input)
PEERS = {
    "dense": (lambda: L.Dense(3), lambda t: t.nn.Linear(5, 3), (1, 0), 0, ROWS),
    "conv1d": (lambda: L.Conv1D(3, 2), lambda t: t.nn.Conv1d(4, 3, 2), (2, 1, 0), 0, SERIES),
    "conv2d": (lambda: L.Conv2D(3, 2), lambda t: t.nn.Conv2d(4, 3, 2), (3, 2, 0, 1), 0, IMAGES),
    "transposed": (
        lambda: L.Conv2DTranspose(3, 2),
        lambda t: t.nn.ConvTranspose2d(4, 3, 2),
        (3, 2, 0, 1),
        1,
        IMAGES,
    ),
    "embedding": (lambda: L.Embedding(9, 3), lambda t: t.nn.Embedding(9, 3), (0, 1), 0, "tokens"),
}


@pytest.fixture(params=["float32", "float64"])
def policy(request):
    """What layers made in the test compute in."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", PEERS)
def test_equals_torch(name, policy):
    torch = pytest.importorskip("torch")
    make, peer, order, dim, shape = PEERS[name]
    x = data(shape)
    x = x if shape == "tokens" else x.astype(policy)
    close = {"float32": dict(rtol=1e-3, atol=1e-4), "float64": dict(rtol=1e-11, atol=1e-12)}[policy]
    wrapper = wrapped(make, x)
    scrambled(wrapper)
    kernel, g = kernel_and_length(wrapper)
    theirs = torch.nn.utils.parametrizations.weight_norm(peer(torch), dim=dim).to(getattr(torch, policy))
    v = np.transpose(kernel.numpy(), order)
    parts = theirs.parametrizations.weight
    with torch.no_grad():
        parts.original1.copy_(torch.tensor(v))
        parts.original0.copy_(torch.tensor(g.numpy()).reshape(parts.original0.shape))
        if len(wrapper.trainable_weights) == 3:
            theirs.bias.copy_(torch.tensor(wrapper.layer.bias.numpy()))
    channels_first = (0, x.ndim - 1, *range(1, x.ndim - 1)) if x.ndim > 2 else tuple(range(x.ndim))
    y = theirs(torch.tensor(x.transpose(channels_first).copy()))
    back = (0, *range(2, x.ndim), 1) if x.ndim > 2 else tuple(range(y.ndim))
    with tf.GradientTape() as tape:
        ours = wrapper(x)
        loss = tf.reduce_sum(tf.sin(ours))
    np.testing.assert_allclose(ours.numpy(), y.detach().numpy().transpose(back), **close)
    torch.sin(y).sum().backward()
    found = tape.gradient(loss, [kernel.value, g.value, *(w.value for w in wrapper.trainable_weights[2:])])
    by_v, by_g, *by_b = (tf.convert_to_tensor(d).numpy() for d in found)
    np.testing.assert_allclose(by_v.transpose(order), parts.original1.grad.numpy(), **close)
    np.testing.assert_allclose(by_g, parts.original0.grad.numpy().ravel(), **close)
    for by_bias in by_b:
        np.testing.assert_allclose(by_bias, theirs.bias.grad.numpy(), **close)
