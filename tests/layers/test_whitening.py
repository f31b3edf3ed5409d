"""Whitening: the covariance of the output, scikit-learn's PCA, streams, deficient data, the way back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.layers import Whitening
from tfopt.layers._covariance import StreamingCovariance


def correlated(n=400, features=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)) @ rng.normal(size=(features, features)) + 3 * rng.normal(
        size=features
    )


def adapted(x, *args, **kwargs):
    layer = Whitening(*args, dtype="float64", **kwargs)
    layer.adapt(x)
    return layer


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_the_output_is_white(method):
    x = correlated()
    layer = adapted(x, method)
    y = layer(x).numpy()
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(y.T), np.eye(5), atol=1e-10)
    assert layer.rank == 5
    np.testing.assert_allclose(layer.inverse(y).numpy(), x, atol=1e-10)


@pytest.mark.parametrize("kept", [None, 1, 3])
def test_pca_equals_scikit_learn(kept):
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = correlated()
    peer = decomposition.PCA(kept, whiten=True, svd_solver="full").fit(x)
    layer = adapted(x, "pca", kept)
    y = layer(x).numpy()
    np.testing.assert_allclose(y, peer.transform(x), atol=1e-9)
    np.testing.assert_allclose(layer.inverse(y).numpy(), peer.inverse_transform(peer.transform(x)), atol=1e-9)


def test_zca_is_the_symmetric_root_and_the_nearest_white_output():
    x = correlated()
    layer = adapted(x, "zca")
    covariance = np.cov(x.T)
    matrix = layer.matrix.numpy()
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    np.testing.assert_allclose(matrix @ covariance @ matrix, np.eye(5), atol=1e-9)
    centred, y = x - x.mean(axis=0), layer(x).numpy()
    nearest = np.square(y - centred).sum()
    rng = np.random.default_rng(1)
    for _ in range(5):
        turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
        assert np.square(y @ turn - centred).sum() > nearest


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_fewer_components_leave_a_projection(method):
    x = correlated()
    layer = adapted(x, method, 2)
    y = layer(x).numpy()
    spectrum = np.linalg.eigvalsh(np.cov(y.T))[::-1] if method == "zca" else np.diag(np.cov(y.T))
    np.testing.assert_allclose(spectrum[:2], 1, atol=1e-9)
    np.testing.assert_allclose(spectrum[2:], 0, atol=1e-9)
    assert y.shape == layer.compute_output_shape(x.shape) == (400, 2 if method == "pca" else 5)
    _, vectors = np.linalg.eigh(np.cov(x.T))
    best = vectors[:, -2:] @ vectors[:, -2:].T
    np.testing.assert_allclose(
        layer.inverse(y).numpy(), (x - x.mean(axis=0)) @ best + x.mean(axis=0), atol=1e-9
    )


class Batches(keras.utils.PyDataset):
    def __init__(self, x, targets):
        super().__init__()
        self.x, self.targets = x, targets

    def __len__(self):
        return 4

    def __getitem__(self, index):
        batch = self.x[100 * index : 100 * (index + 1)]
        return (batch, batch[:, 0]) if self.targets else batch


SOURCES = {
    "array": lambda x: x,
    "tensor": lambda x: tf.constant(x),
    "list": lambda x: x.tolist(),
    "dataset": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(37),
    "pairs": lambda x: tf.data.Dataset.from_tensor_slices((x, x[:, 0])).batch(37),
    "unbatched": lambda x: tf.data.Dataset.from_tensor_slices(x),
    "unknown length": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(37).filter(lambda _: True),
    "py dataset": lambda x: Batches(x, False),
    "py dataset of pairs": lambda x: Batches(x, True),
    "images": lambda x: x.reshape(20, 4, 5, 5),
}


@pytest.mark.parametrize("source", SOURCES)
def test_adapts_to_every_kind_of_data(source):
    x = correlated()
    layer = Whitening(dtype="float64")
    layer.adapt(correlated(seed=9))
    layer.adapt(SOURCES[source](x))
    np.testing.assert_allclose(layer.matrix.numpy(), adapted(x).matrix.numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer.mean.numpy(), x.mean(axis=0), rtol=1e-12)


def test_pieces_of_an_array_bound_the_memory_and_change_nothing():
    x = correlated()
    layer = Whitening(dtype="float64")
    layer.adapt(x, batch_size=33)
    np.testing.assert_allclose(layer.matrix.numpy(), adapted(x).matrix.numpy(), rtol=1e-9, atol=1e-12)


def test_a_stream_by_hand():
    x = correlated()
    layer = Whitening(dtype="float64")
    for piece in np.array_split(x, 7):
        layer.update_state(piece)
    np.testing.assert_array_equal(layer(x[:, :]).numpy(), x)
    layer.finalize_state()
    np.testing.assert_allclose(layer.matrix.numpy(), adapted(x).matrix.numpy(), rtol=1e-9, atol=1e-12)
    layer.update_state(correlated(seed=3))
    layer.finalize_state()
    both = adapted(np.concatenate([x, correlated(seed=3)]))
    np.testing.assert_allclose(layer.matrix.numpy(), both.matrix.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pieces", [1, 2, 50, 400])
def test_the_streamed_covariance_is_exact_far_from_zero(pieces):
    """Σ x xᵀ − n m mᵀ would have no digit left here."""
    x = correlated() * [1, 1e-3, 1, 1, 1e3] + 1e8
    statistics = StreamingCovariance()
    for piece in np.array_split(x, pieces):
        statistics.update(piece)
    expected = np.cov(x.T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(statistics.covariance / scale, expected / scale, atol=1e-6)
    np.testing.assert_allclose(statistics.mean, x.mean(axis=0), rtol=1e-14)
    assert statistics.count == 400
    naive = (x.T @ x - 400 * np.outer(x.mean(axis=0), x.mean(axis=0))) / 399
    assert np.abs(naive / scale - expected / scale).max() > 1e-3


DEFICIENT = {
    "copied feature": lambda x: np.concatenate([x, x[:, :1]], axis=1),
    "sum of features": lambda x: np.concatenate([x, x.sum(axis=1, keepdims=True)], axis=1),
    "sum far from zero": lambda x: np.concatenate([x + 300, (x + 300).sum(axis=1, keepdims=True)], axis=1),
    "constant feature": lambda x: np.concatenate([x, np.full((len(x), 1), 7.0, x.dtype)], axis=1),
}


@pytest.mark.parametrize("kind", DEFICIENT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["pca", "zca"])
def test_directions_without_variance_become_zero_not_noise(kind, dtype, method):
    x = DEFICIENT[kind](correlated().astype(dtype))
    layer = Whitening(method, dtype=dtype)
    layer.adapt(x)
    y = layer(x).numpy()
    assert layer.rank == 5
    spectrum = np.linalg.eigvalsh(np.cov(y.T.astype(np.float64)))
    np.testing.assert_allclose(spectrum, [0, 1, 1, 1, 1, 1], atol=1e-3 if dtype == "float32" else 1e-8)
    np.testing.assert_allclose(layer.inverse(y).numpy(), x, atol=1e-3 if dtype == "float32" else 1e-8)


def test_fewer_samples_than_features():
    x = correlated(6, 20)
    layer = adapted(x)
    assert layer.rank == 5
    y = layer(x).numpy()
    np.testing.assert_allclose(np.cov(y.T), np.diag([1.0] * 5 + [0.0] * 15), atol=1e-9)
    np.testing.assert_allclose(layer.inverse(y).numpy(), x, atol=1e-9)


def test_all_samples_equal():
    layer = adapted(np.ones((5, 3)))
    assert layer.rank == 0
    np.testing.assert_array_equal(layer(np.ones((2, 3))).numpy(), 0)


def test_small_variances_are_kept_as_long_as_they_are_more_than_rounding():
    x = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 1e-2, 1e-5]
    layer = Whitening()
    layer.adapt(x.astype(np.float32))
    assert layer.rank == 3
    np.testing.assert_allclose(layer(x).numpy().std(axis=0, ddof=1), 1, rtol=1e-3)


def test_many_features_in_a_short_type_keep_their_variance():
    x = np.random.default_rng(0).normal(size=(3000, 100)) * np.linspace(1, 0.1, 100)
    layer = Whitening()
    layer.adapt(tf.cast(x, tf.bfloat16))
    assert layer.rank == 100


def test_epsilon_damps():
    x = np.random.default_rng(0).normal(size=(500, 3)) * [2.0, 1.0, 1e-3]
    layer = adapted(x, epsilon=0.1)
    variances = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(layer(x).numpy().var(axis=0, ddof=1), variances / (variances + 0.1), rtol=1e-9)
    np.testing.assert_allclose(layer.inverse(layer(x)).numpy(), x, atol=1e-9)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_gradients_pass(mode):
    x = correlated()
    layer = adapted(x, "zca")

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, x)

    call = gradient if mode == "eager" else tf.function(gradient, jit_compile=mode == "jit")
    matrix = layer.matrix.numpy()
    expected = 2 * (x - x.mean(axis=0)) @ matrix @ matrix.T
    np.testing.assert_allclose(call(tf.constant(x)).numpy(), expected, atol=1e-9)


def test_before_adapt_inputs_pass():
    x = correlated().astype(np.float32)
    np.testing.assert_array_equal(Whitening("zca")(x).numpy(), x)
    np.testing.assert_array_equal(Whitening(n_components=2)(x).numpy(), x[:, :2])


def test_in_a_model_that_trains_and_is_saved(tmp_path):
    x = correlated().astype(np.float32)
    layer = Whitening(n_components=4)
    layer.adapt(x)
    model = keras.Sequential([keras.Input((5,)), layer, keras.layers.Dense(1)])
    assert len(model.trainable_weights) == 2
    model.compile("sgd", loss="mse")
    model.fit(x, x[:, 0], epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x).numpy(), model(x).numpy())
    assert loaded.layers[0].get_config() == layer.get_config()
    assert loaded.layers[0].rank == 4
    np.testing.assert_array_equal(loaded.layers[0].inverse(layer(x)).numpy(), layer.inverse(layer(x)).numpy())


def test_weights_of_an_hdf5_file_are_the_map(tmp_path):
    """Also where a layer was adapted to other data before it loads them."""
    x = correlated().astype(np.float32)
    models = []
    for data in (x, x[:, ::-1]):
        layer = Whitening(n_components=4)
        layer.adapt(data)
        models.append(keras.Sequential([keras.Input((5,)), layer]))
    models[0].save(tmp_path / "model.h5")
    models[1].load_weights(tmp_path / "model.h5")
    for model in (models[1], keras.saving.load_model(tmp_path / "model.h5")):
        np.testing.assert_array_equal(model(x).numpy(), models[0](x).numpy())
        assert model.layers[0].rank == 4


def test_white_inputs_condition_a_linear_model():
    """The Hessian of least squares on white inputs is the identity: one gradient step of rate 1 is enough."""
    x = correlated()
    y = (x - x.mean(axis=0)) @ [1.0, -2.0, 3.0, 0.5, 4.0]
    z = adapted(x)(x).numpy()
    weight = z.T @ y / (len(x) - 1)
    np.testing.assert_allclose(z @ weight, y, atol=1e-9)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_short_types_only_round_the_answer(policy):
    """Inputs far from zero would lose everything if they were rounded before the mean is taken off."""
    x = (correlated() * 1e-2 + 300).astype(np.float32)
    wide, short = Whitening(), Whitening(dtype=policy)
    for layer in (wide, short):
        layer.adapt(x)
    y = short(x)
    assert keras.backend.standardize_dtype(y.dtype) == keras.DTypePolicy(policy).compute_dtype
    np.testing.assert_allclose(tf.cast(y, tf.float32).numpy(), wide(x).numpy(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("refused", [np.arange(10.0), np.ones((1, 10)), np.ones((2, 2))], ids=np.shape)
def test_data_that_were_refused_leave_the_layer_open_to_others(refused):
    layer = Whitening(n_components=3)
    with pytest.raises(ValueError):
        layer.adapt(refused)
    assert not layer.built
    x = correlated()
    layer.adapt(x)
    assert (layer.rank, layer(x).shape) == (3, (len(x), 3))


def test_batches_of_other_features_are_refused():
    layer = Whitening()
    layer.update_state(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"update_state\(data='5 features'\): expected 4 features"):
        layer.update_state(np.ones((3, 5)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Whitening("lda"), r"Whitening\(method='lda'\): expected one of 'pca', 'zca'"),
        (lambda: Whitening(n_components=0), r"Whitening\(n_components=0\)"),
        (lambda: Whitening(epsilon=-1), r"Whitening\(epsilon=-1\)"),
        (lambda: Whitening(n_components=4).adapt(np.ones((5, 3))), r"n_components=4\): expected at most .*3"),
        (
            lambda: Whitening(n_components=4).update_state(np.ones((5, 3))),
            r"n_components=4\): expected at most",
        ),
        (lambda: Whitening().adapt(np.ones((1, 3))), r"Whitening\(samples=1\): expected at least two"),
        (lambda: Whitening().adapt(np.ones((0, 3))), r"Whitening.adapt\(data='shape \(0, 3\)'\)"),
        (lambda: Whitening().adapt([[np.nan, 1.0]]), r"Whitening.adapt\(data=.*finite"),
        (lambda: Whitening().adapt([["a"]]), r"Whitening.adapt\(data='<U1 values'\)"),
        (
            lambda: Whitening().adapt(tf.data.Dataset.from_tensors(np.ones((5, 3))).repeat()),
            r"Whitening.adapt\(data=.*without repeat",
        ),
        (
            lambda: Whitening().adapt(tf.data.Dataset.from_tensors(np.ones((5, 3))), batch_size=2),
            r"Whitening.adapt\(batch_size=2\): expected None",
        ),
        (
            lambda: adapted(np.eye(3)).adapt(np.eye(4)),
            r"Whitening.adapt\(data='4 features'\): expected 3 features",
        ),
        (
            lambda: adapted(np.eye(3)).adapt(tf.data.Dataset.from_tensors(np.eye(3)).take(0)),
            r"Whitening\(samples=0\): expected at least two",
        ),
        (lambda: Whitening().inverse(np.ones((1, 3))), r"Whitening.inverse\(built=False\)"),
        (lambda: Whitening().rank, r"Whitening.rank\(built=False\)"),
        (lambda: Whitening().finalize_state(), r"Whitening\(samples=0\)"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
