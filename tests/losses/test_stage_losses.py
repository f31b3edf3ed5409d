"""The losses that make stages: their formulas in NumPy, and that at the end they are the plain loss."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.losses import Blend, Curriculum, LabelSmoothing, Temperature
from tfopt.losses._glue import with_mask

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(21, 4)).astype("float32") * 3
CLASSES = RNG.integers(0, 4, 21)
ONE_HOT = np.eye(4, dtype="float32")[CLASSES]
WEIGHTS = RNG.uniform(0.1, 2.0, 21).astype("float32")

SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
DENSE = keras.losses.CategoricalCrossentropy(from_logits=True)


def cross_entropies(logits, labels=ONE_HOT):
    logits = np.asarray(logits, "float64")
    shifted = logits - logits.max(-1, keepdims=True)
    return -(labels * (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))).sum(-1)


def gradient_of(loss, labels, logits=LOGITS, weights=None):
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits, weights)
    return value, tape.gradient(value, logits)


@keras.saving.register_keras_serializable(package="tests")
def rarity(y_true, y_pred):
    return y_true


PLAIN = {
    "blend": Blend("categorical_hinge", SPARSE, 1.0),
    "blend, easy": Blend(SPARSE, "categorical_hinge", 0),
    "temperature": Temperature(SPARSE, 1.0),
    "smoothing": LabelSmoothing(SPARSE, 0.0),
    "curriculum": Curriculum(SPARSE, 1.0),
    "nested": Blend("mae", Temperature(LabelSmoothing(Curriculum(SPARSE, 1), 0.0), 1), 1),
}


@pytest.mark.parametrize("loss", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_at_the_end_they_are_the_plain_loss_bit_for_bit(loss, weights):
    for got, expected in zip(
        gradient_of(loss, CLASSES, weights=weights),
        gradient_of(SPARSE, CLASSES, weights=weights),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("weight", [0.25, 0.9])
def test_blend(weight):
    easy = np.mean((LOGITS - ONE_HOT) ** 2, dtype="float64")
    expected = (1 - weight) * easy + weight * cross_entropies(LOGITS).mean()
    assert float(Blend("mse", DENSE, weight)(ONE_HOT, LOGITS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_temperature(temperature):
    expected = cross_entropies(LOGITS / temperature)
    loss = Temperature(SPARSE, temperature)
    value, gradient = gradient_of(loss, CLASSES, weights=WEIGHTS)
    assert float(value) == pytest.approx((expected * WEIGHTS).mean(), rel=1e-5)
    softmax = np.exp(LOGITS / temperature) / np.exp(LOGITS / temperature).sum(1, keepdims=True)
    slope = (softmax - ONE_HOT) * WEIGHTS[:, None] / (21 * temperature)
    np.testing.assert_allclose(gradient, slope, atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (SPARSE, CLASSES),
        (SPARSE, CLASSES[:, None]),
        (DENSE, ONE_HOT),
        ("sparse_categorical_crossentropy", None),
    ],
    ids=["sparse", "column", "one-hot", "by name, of probabilities"],
)
def test_label_smoothing_of_classes(loss, labels):
    expected = cross_entropies(LOGITS, 0.7 * ONE_HOT + 0.3 / 4).mean()
    predictions = LOGITS
    if labels is None:
        labels, predictions = CLASSES, keras.ops.softmax(LOGITS)
    assert float(LabelSmoothing(loss, 0.3)(labels, predictions)) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_is_that_of_keras_where_keras_has_it():
    for made, options, labels, predictions in (
        (keras.losses.CategoricalCrossentropy, {"from_logits": True}, ONE_HOT, LOGITS),
        (keras.losses.BinaryCrossentropy, {"from_logits": True}, ONE_HOT, LOGITS),
        (keras.losses.BinaryCrossentropy, {"from_logits": True}, ONE_HOT[:, :1], LOGITS[:, :1]),
    ):
        expected = made(label_smoothing=0.2, **options)(labels, predictions)
        found = LabelSmoothing(made(**options), 0.2)(labels, predictions)
        assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", None])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_label_smoothing_begins_at_the_loss_that_ignores_a_class(reduction, from_logits, weights):
    base = keras.losses.SparseCategoricalCrossentropy(
        from_logits=from_logits, ignore_class=2, reduction=reduction
    )
    predictions = LOGITS if from_logits else keras.ops.softmax(LOGITS)
    found = LabelSmoothing(base, 1e-7)(CLASSES, predictions, weights)
    np.testing.assert_allclose(found, base(CLASSES, predictions, weights), rtol=1e-5, atol=1e-5)


def test_ignored_labels_are_left_out_whatever_is_predicted_there():
    base = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    labels, logits = np.where(CLASSES == 2, -1, CLASSES), LOGITS.copy()
    logits[CLASSES == 2] = np.nan
    kept = CLASSES != 2
    value, gradient = gradient_of(LabelSmoothing(base, 0.3), labels, logits)
    wanted, slope = gradient_of(LabelSmoothing(SPARSE, 0.3), CLASSES[kept], LOGITS[kept])
    assert float(value) == pytest.approx(float(wanted), rel=1e-6)
    np.testing.assert_allclose(gradient.numpy()[kept], slope, rtol=1e-5, atol=1e-8)
    mask = np.tile(np.arange(7) < 4, (3, 1))
    masked = with_mask(tf.constant(logits.reshape(3, 7, 4)), mask)
    both = kept & mask.ravel()
    found = LabelSmoothing(base, 0.3)(labels.reshape(3, 7), masked)
    wanted = LabelSmoothing(SPARSE, 0.3)(CLASSES[both], LOGITS[both])
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("axis", [1, -2])
def test_label_smoothing_along_the_axis_of_the_loss(axis):
    """Keras' own label_smoothing takes the last axis for that of the classes."""
    logits, one_hot = (np.moveaxis(t.reshape(3, 7, 4), -1, 1) for t in (LOGITS, ONE_HOT))
    expected = cross_entropies(LOGITS, 0.7 * ONE_HOT + 0.3 / 4).mean()
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True, axis=axis)
    dense = keras.losses.CategoricalCrossentropy(from_logits=True, axis=1)
    for loss, labels in (
        (sparse, CLASSES.reshape(3, 7)),
        (sparse, CLASSES.reshape(3, 1, 7)),
        (dense, one_hot),
    ):
        assert float(LabelSmoothing(loss, 0.3)(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_of_a_function_that_means_something_else_by_axis():
    def error(y_true, y_pred, axis=None):
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=axis)

    expected = np.mean((LOGITS - (0.7 * ONE_HOT + 0.3 / 4)) ** 2)
    assert float(LabelSmoothing(error, 0.3)(ONE_HOT, LOGITS)) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_refuses_what_would_hand_mixed_labels_to_a_sparse_loss():
    with pytest.raises(ValueError, match=r"LabelSmoothing\(loss=.*expected a loss that takes mixed labels"):
        LabelSmoothing(Temperature(SPARSE, 2.0), 0.1)


@pytest.mark.parametrize(("share", "chosen"), [(0.3, 7), (1 / 3, 7), (0.01, 1), (0.99, 21), (0.5, 11)])
def test_curriculum_is_the_mean_over_the_easiest(share, chosen):
    losses = cross_entropies(LOGITS)
    easiest = np.argsort(losses)[:chosen]
    value, gradient = gradient_of(Curriculum(SPARSE, share), CLASSES)
    assert float(value) == pytest.approx(losses[easiest].mean(), rel=1e-4)
    hard = np.setdiff1d(np.arange(21), easiest)
    assert (np.abs(gradient.numpy()[easiest]).max(1) > 0).all()
    assert not gradient.numpy()[hard].any()


def test_curriculum_by_a_difficulty_of_the_labels():
    """The rarer classes, here those of higher numbers, come later; of equal ones the earlier is easier."""
    order = np.argsort(CLASSES, kind="stable")[:9]
    losses = cross_entropies(LOGITS)
    value = Curriculum(SPARSE, 9 / 21, difficulty=rarity)(CLASSES, LOGITS)
    assert float(value) == pytest.approx(losses[order].mean(), rel=1e-5)


def test_curriculum_with_sample_weights_and_positions():
    truth, guess = np.zeros((3, 2, 1), "float32"), np.array([[3, 4], [1, 2], [0, 9]], "float32")[..., None]
    difficulty = (guess**2).mean((1, 2))
    easy = np.argsort(difficulty)[:2]
    weights = np.array([[1, 2], [3, 4], [5, 6]], "float32")
    expected = ((guess[..., 0] ** 2) * weights)[easy].sum() / 4
    assert float(Curriculum("mse", 2 / 3)(truth, guess, weights)) == pytest.approx(expected, rel=1e-5)
    each = Curriculum("mse", 2 / 3)(truth, guess, np.array([1.0, 3.0, 5.0], "float32")[:, None])
    scaled = ((guess[..., 0] ** 2) * np.array([[1], [3], [5]]))[easy].sum() / 4
    assert float(each) == pytest.approx(scaled, rel=1e-5)


@pytest.mark.parametrize("count", [3, 4])
def test_curriculum_of_positions(count):
    """Of as many positions as there are samples too, where shapes fit the wrong way round as well."""
    guess = np.arange(1, 4)[:, None, None] * np.ones((3, count, 2))
    loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    for made in (Curriculum("mse", 0.5), Curriculum("mse", 0.5, difficulty=rarity), Curriculum(loss, 0.5)):
        assert float(made(np.zeros((3, count, 2)), guess)) == pytest.approx((1 + 4) / 2)


def test_curriculum_of_a_composed_loss():
    soft = Curriculum(Temperature(SPARSE, 2.0), 0.5)(CLASSES, LOGITS)
    assert float(soft) == pytest.approx(float(Curriculum(SPARSE, 0.5)(CLASSES, LOGITS / 2)), rel=1e-6)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("weights", [None, np.ones((5, 3)), np.ones(5)], ids=["none", "positions", "samples"])
def test_curriculum_of_masked_outputs(jit, weights):
    """The last sample is padding only; the easiest two of the other four have three positions together."""
    steps = np.array([[1, 0, 0], [1, 2, 3], [2, 1, 0], [2, 0, 0], [0, 0, 0]])
    x = keras.Input((3,), dtype="int32")
    model = keras.Model(x, keras.layers.Embedding(4, 1, mask_zero=True)(x))
    model.set_weights([np.array([[0.0], [2.0], [1.0], [9.0]])])
    model.compile("sgd", Curriculum("mse", 0.5), jit_compile=jit)
    # The means of the positions are 4, 86/3, 5/2, 1.
    assert model.evaluate(steps, np.zeros((5, 3, 1)), sample_weight=weights, verbose=0) == pytest.approx(2.0)
    model.fit(steps, np.zeros((5, 3, 1)), sample_weight=weights, verbose=0)
    rows = model.get_weights()[0].ravel()
    assert (rows[[0, 3]] == [0, 9]).all()
    assert (rows[1:3] < [2, 1]).all()


def test_curriculum_does_not_choose_ignored_labels():
    base = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    labels, kept = np.where(CLASSES == 2, -1, CLASSES), CLASSES != 2
    expected = Curriculum(SPARSE, 0.4)(CLASSES[kept], LOGITS[kept])
    assert float(Curriculum(base, 0.4)(labels, LOGITS)) == pytest.approx(float(expected), rel=1e-5)
    expected = Curriculum(SPARSE, 0.4, rarity)(CLASSES[kept], LOGITS[kept])
    assert float(Curriculum(base, 0.4, rarity)(labels, LOGITS)) == pytest.approx(float(expected), rel=1e-5)
    none = Curriculum(base, 0.4)(np.full_like(labels, -1), LOGITS)
    assert float(none) == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        Temperature(SPARSE, 2.0),
        LabelSmoothing(SPARSE, 0.2),
        Blend(SPARSE, SPARSE, 0.5),
        Curriculum(SPARSE, 0.5),
        Curriculum(SPARSE, 0.5, difficulty=rarity),
        Curriculum(Temperature(SPARSE, 2.0), 0.5),
    ],
)
def test_masked_positions_do_not_count(loss):
    logits, classes = LOGITS.reshape(3, 7, 4), CLASSES.reshape(3, 7)
    kept = np.tile(np.arange(7) < 4, (3, 1))
    masked = keras.layers.Masking(99.0)(np.where(kept[..., None], logits, np.float32(99.0)))
    expected = loss(classes[:, :4], tf.constant(logits[:, :4]))
    assert float(loss(classes, masked)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "loss",
    [Blend("mse", DENSE, 0.5), Temperature(DENSE, 2.0), LabelSmoothing(DENSE, 0.2), Curriculum(DENSE, 0.5)],
)
def test_graphs_give_what_eager_gives(loss, jit):
    graph = tf.function(lambda y, p: gradient_of(loss, y, p), jit_compile=jit)
    pairs = zip(graph(ONE_HOT, LOGITS), gradient_of(loss, ONE_HOT), strict=True)
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "made",
    [
        Blend("mse", DENSE, 0.25, name="mixed"),
        Temperature(DENSE, 3.0),
        LabelSmoothing(DENSE, 0.1, dtype="float64"),
        Curriculum(DENSE, 0.5),
        Curriculum(DENSE, 0.5, difficulty=rarity),
    ],
)
def test_configuration_round_trip(made):
    again = keras.losses.deserialize(keras.losses.serialize(made))
    assert type(again) is type(made)
    assert again.get_config() == made.get_config()
    if not isinstance(made, Curriculum):
        assert float(again(ONE_HOT, LOGITS)) == float(made(ONE_HOT, LOGITS))


@pytest.mark.parametrize(
    ("make", "argument", "value", "others"),
    [
        (Blend, "weight", -0.1, {"easy": "mse", "hard": "mae"}),
        (Blend, "weight", 1.5, {"easy": "mse", "hard": "mae"}),
        (Blend, "hard", None, {"easy": "mse", "weight": 0.5}),
        (Temperature, "temperature", 0.0, {"loss": "mse"}),
        (Temperature, "temperature", "warm", {"loss": "mse"}),
        (LabelSmoothing, "smoothing", 1.0, {"loss": "mse"}),
        (LabelSmoothing, "loss", 3, {"smoothing": 0.5}),
        (Curriculum, "share", 0.0, {"loss": "mse"}),
        (Curriculum, "share", 1.5, {"loss": "mse"}),
        (Curriculum, "difficulty", "hardness", {"loss": "mse", "share": 0.5}),
    ],
)
def test_refuses_bad_arguments(make, argument, value, others):
    with pytest.raises(ValueError) as caught:
        make(**{argument: value}, **others)
    assert str(caught.value).startswith(f"{make.__name__}({argument}={value!r}): expected ")


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.BinaryCrossentropy(),
        "binary_crossentropy",
        "sparse_categorical_crossentropy",
        keras.losses.categorical_focal_crossentropy,
        LabelSmoothing(keras.losses.BinaryCrossentropy(), 0.1),
        Blend("mse", LabelSmoothing("binary_crossentropy", 0.1), 0.5),
        Curriculum("mse", 0.5, difficulty="binary_crossentropy"),
    ],
)
def test_temperature_refuses_probabilities(loss):
    with pytest.raises(ValueError, match=r"expected a loss of logits \(from_logits=True\)"):
        Temperature(loss, 2.0)


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        rarity,
        LabelSmoothing(keras.losses.BinaryCrossentropy(from_logits=True), 0.1),
        functools.partial(keras.losses.binary_crossentropy, from_logits=True),
    ],
)
def test_temperature_takes_losses_of_logits(loss):
    assert tfopt.losses.Temperature(loss, 2.0).temperature == 2.0
