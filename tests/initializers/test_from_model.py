"""FromModel: what is matched, what is reported, use as an initializer, and a source that is gone."""

import io
import warnings

import keras
import numpy as np
import pytest

from tfopt.initializers import FromModel, _glue
from tfopt.layers import WeightNormalization

L = keras.layers


def model(classes=5, units=3, name=None, nested=False):
    """A convolutional, recurrent encoder and a head; the encoder is a model of its own if nested."""
    encoder = [L.Conv1D(units, 2, name="conv"), L.BatchNormalization(name="norm"), L.LSTM(4, name="lstm")]
    head = [L.Dense(classes, name="head")]
    if nested:
        encoder = [keras.Sequential(encoder, name="encoder")]
    return keras.Sequential([keras.Input((6, 2)), *encoder, *head], name=name)


def scrambled(one, seed=0):
    rng = np.random.default_rng(seed)
    one.set_weights([rng.normal(size=w.shape) for w in one.get_weights()])
    return one


def same(layer, other):
    return all((a == b).all() for a, b in zip(layer.get_weights(), other.get_weights(), strict=True))


@pytest.fixture(params=["model", "path", "pathlib", "h5"])
def source(request, tmp_path):
    one = scrambled(model())
    path = tmp_path / ("model.h5" if request.param == "h5" else "model.keras")
    if request.param != "model":
        one.save(path)
    return one, {"model": one, "path": str(path), "pathlib": path, "h5": str(path)}[request.param]


def test_apply_takes_what_fits_and_leaves_the_rest(source):
    one, given = source
    target = scrambled(model(classes=2), seed=1)
    head = [w.copy() for w in target.layers[-1].get_weights()]
    found = FromModel(given).apply(target)
    for name in ("conv", "norm", "lstm"):
        assert same(target.get_layer(name), one.get_layer(name))
    for now, before in zip(target.layers[-1].get_weights(), head, strict=True):
        np.testing.assert_array_equal(now, before)
    assert found.mismatched == ["head/kernel", "head/bias"]
    assert found.missing == found.unused == []
    assert len(found.matched) == 9
    assert "norm/moving_variance" in found.matched
    assert [(row.shape, row.source_shape) for row in found.rows if row.layer == "head"] == [
        ((4, 2), (4, 5)),
        ((2,), (5,)),
    ]


def test_what_one_of_the_models_lacks():
    one = keras.Sequential([keras.Input((2,)), L.Dense(3, name="a"), L.Dense(3, name="b", use_bias=False)])
    other = keras.Sequential([keras.Input((2,)), L.Dense(3, name="a", use_bias=False), L.Dense(3, name="c")])
    found = FromModel(one).apply(other)
    assert found.matched == ["a/kernel"]
    assert found.missing == ["c/kernel", "c/bias"]
    assert found.unused == ["a/bias", "b/kernel"]
    assert str(found) == "1 matched, 2 not in the source, 2 not in the model"


def test_strict_raises_before_anything_changes():
    one, other = scrambled(model()), scrambled(model(classes=2), 1)
    before = other.get_weights()
    with pytest.raises(
        ValueError, match=r"FromModel.apply\(strict=True\): nothing fits head/kernel, head/bias"
    ):
        FromModel(one).apply(other, strict=True)
    for now, then in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    FromModel(one).apply(model(), strict=True)


@pytest.mark.parametrize("nested", [(True, True), (True, False), (False, True)])
def test_models_inside_models(nested):
    one, other = (model(nested=inner) for inner in nested)
    scrambled(one)
    found = FromModel(one).apply(other, strict=True)
    assert len(found.matched) == 11
    assert ("encoder/conv/kernel" in found.matched) == nested[1]
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_equal_names_in_two_inner_models_are_told_apart():
    def twins():
        branches = [keras.Sequential([keras.Input((2,)), L.Dense(2, name="same")], name=n) for n in "lr"]
        x = keras.Input((2,))
        return keras.Model(x, [branch(x) for branch in branches])

    one, other = scrambled(twins()), twins()
    FromModel(one).apply(other, strict=True)
    x = np.ones((1, 2))
    for a, b in zip(one(x), other(x), strict=True):
        np.testing.assert_array_equal(a, b)
    # A single layer of that name has two candidates, and takes neither.
    single = keras.Sequential([keras.Input((2,)), L.Dense(2, name="same")])
    assert FromModel(one).apply(single).missing == ["same/kernel", "same/bias"]


def test_a_shared_layer_and_the_models_own_weights():
    class Scaled(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = L.Dense(2, name="inner")
            self.scale = self.add_weight(name="scale", shape=(2,), initializer="ones")

        def call(self, x):
            return self.inner(self.inner(x)) * self.scale

    one, other = Scaled(), Scaled()
    for each in (one, other):
        each(np.ones((1, 2)))
    scrambled(one)
    found = FromModel(one).apply(other, strict=True)
    assert sorted(found.matched) == ["/scale", "inner/bias", "inner/kernel"]
    np.testing.assert_array_equal(one(np.ones((1, 2))), other(np.ones((1, 2))))


def test_many_weights_of_one_name_are_paired_in_order():
    def attention():
        x = keras.Input((3, 4))
        return keras.Model(x, L.MultiHeadAttention(2, 2, name="mha")(x, x))

    one, other = scrambled(attention()), attention()
    found = FromModel(one).apply(other, strict=True)
    assert "mha/kernel 4" in found.matched
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# -- Weight normalization --------------------------------------------------------------------------------

WRAPPED = {
    "dense": (lambda: L.Dense(3), (4,)),
    "separable": (lambda: L.SeparableConv1D(3, 2), (6, 4)),
    "recurrent": (lambda: L.GRU(3), (6, 4)),
    "embedding": (lambda: L.Embedding(9, 3), (6,)),
}


def with_layer(kind, wrap, **options):
    """A model of one layer called "a", weight-normalised or not, and inputs for it."""
    make, shape = WRAPPED[kind]
    layer = make()
    if wrap:
        layer = WeightNormalization(layer, name="a", **options)
    else:
        layer = type(layer).from_config(layer.get_config() | {"name": "a"})
    x = np.random.default_rng(0).integers(0, 9, size=(5, *shape)).astype(np.float32)
    return keras.Sequential([keras.Input(shape), layer]), x


@pytest.mark.parametrize("wrapped", [(True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize("kind", WRAPPED)
def test_weight_normalized_layers_answer_the_same(kind, wrapped):
    """In either direction, and the first batch does not start them anew."""
    (one, x), (other, _) = (with_layer(kind, wrap) for wrap in wrapped)
    scrambled(one)
    if wrapped[0] and one.layers[0].initialized is not None:
        one.layers[0].initialized.assign(True)
    found = FromModel(one).apply(other, strict=True)
    assert found.mismatched == found.missing == found.unused == []
    assert any(name.startswith("a/") and name.endswith("_g") for name in found.matched) == all(wrapped)
    np.testing.assert_allclose(other(x), one(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other(x, training=True), one(x), rtol=1e-5, atol=1e-5)


def test_two_weight_normalized_layers_keep_length_and_direction():
    one, other = (with_layer("dense", True, data_init=start)[0] for start in (True, False))
    scrambled(one)
    FromModel(one).apply(other, strict=True)
    kept = dict(zip([w.name for w in other.weights], other.get_weights(), strict=True))
    for weight in one.weights:
        if weight.name != "initialized":
            np.testing.assert_array_equal(kept[weight.name], weight)


def test_a_layer_that_starts_from_a_batch_keeps_what_it_is_given():
    one, x = with_layer("dense", True, data_init=False)
    other, _ = with_layer("dense", True)
    scrambled(one)
    FromModel(one).apply(other, strict=True)
    np.testing.assert_allclose(other(x, training=True), one(x), rtol=1e-5, atol=1e-5)


def test_kernels_of_one_shape_whose_units_lie_along_other_axes():
    one, other = (
        keras.Sequential([keras.Input((6, 3)), WeightNormalization(kind(3, 2), name="a")])
        for kind in (L.Conv1D, L.Conv1DTranspose)
    )
    FromModel(scrambled(one)).apply(other, strict=True)
    np.testing.assert_allclose(other.layers[0].kernels[0], one.layers[0].kernels[0], rtol=1e-5)


@pytest.mark.parametrize("wrapped", [(True, False), (False, True)], ids=str)
def test_strict_sees_a_normalized_kernel_that_is_not_matched(wrapped):
    one, other = (
        keras.Sequential([keras.Input((4,)), WeightNormalization(layer, name="a") if wrap else layer])
        for layer, wrap in zip((L.Dense(3, name="a"), L.Dense(2, name="a")), wrapped, strict=True)
    )
    with pytest.raises(ValueError, match="nothing fits a/kernel, a/bias"):
        FromModel(one).apply(other, strict=True)
    before = other.get_weights()
    assert FromModel(one).apply(other).mismatched == ["a/kernel", "a/bias"]
    for old, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_initializer_takes_the_normalized_kernel():
    one = scrambled(with_layer("dense", True)[0])
    start = FromModel(one, layer="a", weight="kernel")
    np.testing.assert_allclose(start((4, 3)), one.layers[0].kernels[0], rtol=1e-6)


def test_types_are_converted():
    one = scrambled(keras.Sequential([keras.Input((2,)), L.Dense(3, name="a", dtype="bfloat16")]))
    other = keras.Sequential([keras.Input((2,)), L.Dense(3, name="a", dtype="float64")])
    FromModel(one).apply(other, strict=True)
    np.testing.assert_array_equal(
        other.layers[0].kernel.numpy(), one.layers[0].kernel.numpy().astype("float64")
    )


def test_the_optimizer_is_left_alone():
    one, other = (keras.Sequential([keras.Input((2,)), L.Dense(3, name="a")]) for _ in range(2))
    for each in (one, other):
        each.compile("adam", loss="mse")
    one.fit(np.ones((4, 2)), np.ones((4, 3)), verbose=0)
    other.optimizer.build(other.trainable_variables)
    FromModel(one).apply(other)
    assert all((np.asarray(v) == 0).all() for v in other.optimizer.variables if v.shape != ())
    assert int(other.optimizer.iterations) == 0


def test_the_table():
    console = pytest.importorskip("rich.console").Console(record=True, width=100, file=io.StringIO())
    console.print(FromModel(model()).apply(model(classes=2)))
    text = console.export_text()
    assert "9 matched, 2 in another shape" in text
    (line,) = (line for line in text.splitlines() if "(4, 2)" in line)
    assert " ".join(line.split()) == "head kernel (4, 2) (4, 5) in another shape"


@pytest.mark.parametrize("given", ["model", "path"])
def test_as_an_initializer_it_finds_its_layer_and_weight(given, tmp_path):
    one = scrambled(model())
    one.save(tmp_path / "model.keras")
    start = FromModel(one if given == "model" else tmp_path / "model.keras")
    conv = L.Conv1D(3, 2, name="conv", kernel_initializer=start, bias_initializer=start)
    lstm = L.LSTM(
        4,
        name="lstm",
        kernel_initializer=start,
        recurrent_initializer=start,
        bias_initializer=start,
        unit_forget_bias=False,
    )
    norm = L.BatchNormalization(
        name="norm",
        gamma_initializer=FromModel(start.source),
        beta_initializer=FromModel(start.source),
        moving_mean_initializer=FromModel(start.source),
        moving_variance_initializer=FromModel(start.source),
    )
    keras.Sequential([keras.Input((6, 2)), conv, norm, lstm])
    for layer in (conv, norm, lstm):
        assert same(layer, one.get_layer(layer.name))


def test_an_initializer_told_where_to_look():
    one = scrambled(model(nested=True))
    layer = L.Dense(4, kernel_initializer=FromModel(one, layer="head", weight="kernel"), name="other")
    with pytest.raises(
        ValueError, match=r"expected layer and weight of one weight of shape \(4, 4\) in the source"
    ):
        layer.build((None, 4))
    kernel = FromModel(one, layer="encoder/conv", weight="kernel")((2, 2, 3))
    np.testing.assert_array_equal(kernel, one.layers[0].get_layer("conv").kernel)
    # By the shape alone where nothing else tells, if one weight has it.
    np.testing.assert_array_equal(FromModel(one, layer="head")((5,), dtype="float64"), one.layers[1].bias)


def test_an_initializer_falls_back_where_told():
    layer = L.Dense(4, name="unknown", kernel_initializer=FromModel(model(), fallback="ones"))
    layer.build((None, 2))
    np.testing.assert_array_equal(layer.kernel, np.ones((2, 4)))


def test_an_ambiguous_initializer_is_refused():
    square = keras.Sequential([keras.Input((2, 2)), L.SimpleRNN(2, name="rnn")])
    with pytest.raises(
        ValueError, match=r"got several weights for the layer 'rnn'; there it has kernel \(2, 2\)"
    ):
        FromModel(square, layer="rnn")((2, 2))
    start = FromModel(scrambled(square))
    again = L.SimpleRNN(2, name="rnn", kernel_initializer=start)
    again.build((None, 2, 2))
    np.testing.assert_array_equal(again.cell.kernel, square.layers[0].cell.kernel)
    assert (again.cell.recurrent_kernel.numpy() != square.layers[0].cell.recurrent_kernel.numpy()).any()


class Late(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.inner = layer

    def call(self, x):
        return self.inner(x)


def test_a_layer_that_is_built_late_has_to_be_named():
    one = scrambled(keras.Sequential([keras.Input((2,)), L.Dense(3, name="a")]))
    with pytest.raises(ValueError, match="got no weight for the layer 'late"):
        Late(L.Dense(3, name="a", kernel_initializer=FromModel(one)))(keras.Input((2,)))
    keras.utils.clear_session()  # Keras would try that weight again
    late = Late(L.Dense(3, kernel_initializer=FromModel(one, "a", "kernel")))
    late(keras.Input((2,)))
    np.testing.assert_array_equal(late.inner.kernel, one.layers[0].kernel)


def test_a_saved_model_outlives_its_source(tmp_path):
    path = tmp_path / "source.keras"
    scrambled(keras.Sequential([keras.Input((2,)), L.Dense(3, name="a")])).save(path)
    start = FromModel(path, fallback="zeros")
    heir = keras.Sequential([keras.Input((2,)), L.Dense(3, name="a", kernel_initializer=start)])
    heir.save(tmp_path / "heir.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = keras.saving.load_model(tmp_path / "heir.keras")
    config = loaded.layers[0].kernel_initializer.get_config()
    assert config == start.get_config()
    assert config["source"] == str(path)
    path.unlink()
    with pytest.warns(UserWarning, match=r"FromModel: its source .*source.keras is gone.* start from Zeros"):
        loaded = keras.saving.load_model(tmp_path / "heir.keras")
    assert same(loaded.layers[0], heir.layers[0])


def test_a_source_in_memory_is_not_saved(tmp_path):
    start = FromModel(scrambled(keras.Sequential([keras.Input((2,)), L.Dense(3, name="a")])))
    heir = keras.Sequential([keras.Input((2,)), L.Dense(3, name="a", kernel_initializer=start)])
    heir.save(tmp_path / "heir.keras")
    with pytest.warns(UserWarning, match=r"was a model in memory and is gone.* start from GlorotUniform"):
        loaded = keras.saving.load_model(tmp_path / "heir.keras")
    assert same(loaded.layers[0], heir.layers[0])
    with pytest.raises(ValueError, match=r"FromModel\(source=None\): expected a source that still exists"):
        loaded.layers[0].kernel_initializer.apply(heir)


def test_layers_being_built_are_where_keras_keeps_them():
    """Guards `_glue.layers_being_built`."""
    seen = []

    def watch(shape, dtype=None):
        seen.append([layer.name for layer in _glue.layers_being_built()])
        return keras.ops.zeros(shape, dtype)

    L.GRU(2, kernel_initializer=watch, name="outer").build((None, 3, 2))
    assert [names[0] for names in seen] == ["outer"]
    assert seen[0][-1].startswith("gru_cell")
    assert _glue.layers_being_built() == []


def test_a_file_of_weights_without_layers_is_refused(tmp_path):
    model().save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match=r"FromModel\(source=.*the path of a saved one, with its layers"):
        FromModel(tmp_path / "model.weights.h5")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: FromModel("nowhere.keras"),
            r"FromModel\(source='nowhere.keras'\): expected a built keras.Model",
        ),
        (
            lambda: FromModel(keras.Sequential([L.Dense(1)])),
            r"FromModel\(source=.*expected a built keras.Model",
        ),
        (lambda: FromModel(model()).apply(keras.Sequential([L.Dense(1)])), r"FromModel.apply\(model="),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
