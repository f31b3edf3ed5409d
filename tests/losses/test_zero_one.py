"""The 0-1 loss and metric: errors counted by hand, whatever the labels' form; no gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(50, 4)).astype("float32")
CLASSES = RNG.integers(0, 4, 50)
WRONG = (SCORES.argmax(1) != CLASSES).astype("float64")
WEIGHTS = RNG.uniform(0.1, 2.0, 50).astype("float32")

FORMS = {
    "sparse": CLASSES,
    "sparse column": CLASSES[:, None],
    "sparse floats": CLASSES.astype("float32"),
    "one-hot": np.eye(4)[CLASSES],
}


@pytest.mark.parametrize("labels", FORMS.values(), ids=FORMS)
def test_classes_are_compared_with_the_highest_score(labels):
    assert float(tfopt.losses.ZeroOne()(labels, SCORES)) == pytest.approx(WRONG.mean(), rel=1e-6)
    metric = tfopt.metrics.ZeroOne()
    for part in (slice(0, 20), slice(20, 50)):
        metric.update_state(labels[part], SCORES[part], sample_weight=WEIGHTS[part])
    assert float(metric.result()) == pytest.approx(np.average(WRONG, weights=WEIGHTS), rel=1e-6)


@pytest.mark.parametrize("negative", [0, -1])
@pytest.mark.parametrize("threshold", [0.5, 0.0])
@pytest.mark.parametrize("shapes", [((50,), (50,)), ((50,), (50, 1)), ((50, 1), (50,)), ((50, 1), (50, 1))])
def test_binary_decisions_are_compared_with_the_threshold(negative, threshold, shapes):
    truth, scores = CLASSES > 1, SCORES[:, 0]
    wrong = np.mean(truth != (scores > threshold))
    labels = np.where(truth, 1, negative).reshape(shapes[0])
    loss = tfopt.losses.ZeroOne(threshold=threshold)
    metric = tfopt.metrics.ZeroOne(threshold=threshold)
    assert float(loss(labels, scores.reshape(shapes[1]))) == pytest.approx(wrong, rel=1e-6)
    assert float(metric(labels, scores.reshape(shapes[1]))) == pytest.approx(wrong, rel=1e-6)


def test_several_decisions_per_sample_count_one_by_one():
    truth = RNG.integers(0, 2, (50, 4))
    wrong = np.mean((truth > 0) != (SCORES > 0.0))
    loss = tfopt.losses.ZeroOne("binary", threshold=0.0)
    assert float(loss(truth, SCORES)) == pytest.approx(wrong, rel=1e-6)


def test_positions_of_a_sequence_count_one_by_one():
    scores, classes = SCORES.reshape(10, 5, 4), CLASSES.reshape(10, 5)
    assert float(tfopt.losses.ZeroOne()(classes, scores)) == pytest.approx(WRONG.mean(), rel=1e-6)


def test_nan_decides_nothing_right():
    nan = np.full((3, 2), np.nan, "float32")
    assert float(tfopt.losses.ZeroOne()([0, 1, 0], nan)) == 1.0
    assert float(tfopt.losses.ZeroOne()([0.0, 1.0], np.full(2, np.nan, "float32"))) == 1.0


def test_it_agrees_with_keras_accuracy_and_scikit_learn():
    from sklearn.metrics import zero_one_loss

    accuracy = keras.metrics.SparseCategoricalAccuracy()
    accuracy.update_state(CLASSES, SCORES)
    found = float(tfopt.metrics.ZeroOne()(CLASSES, SCORES))
    assert found == pytest.approx(1 - float(accuracy.result()), abs=1e-6)
    assert found == pytest.approx(zero_one_loss(CLASSES, SCORES.argmax(1)), abs=1e-6)


def test_masked_positions_do_not_count():
    scores, classes = tf.constant(SCORES.reshape(10, 5, 4)), CLASSES.reshape(10, 5)
    kept = np.arange(5) < 3
    masked = keras.layers.Masking(mask_value=99.0)(
        tf.where(tf.constant(np.tile(kept, (10, 1)))[..., None], scores, 99.0)
    )
    wrong = WRONG.reshape(10, 5)[:, :3].mean()
    assert float(tfopt.losses.ZeroOne()(classes, masked)) == pytest.approx(wrong, rel=1e-6)
    metric = tfopt.metrics.ZeroOne()
    metric.update_state(classes, masked)
    assert float(metric.result()) == pytest.approx(wrong, rel=1e-6)


@pytest.mark.parametrize("optimizer", [tfopt.SGD, keras.optimizers.SGD])
def test_nothing_trains_on_it(optimizer):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(optimizer(0.1), tfopt.losses.ZeroOne())
    with pytest.raises(ValueError, match="No gradients provided"):
        model.fit(SCORES, CLASSES % 3, verbose=0)


@pytest.mark.parametrize("jit", [False, True])
def test_evaluates_and_stops_early_on_it(jit):
    """A monitor whose direction is found by itself."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tfopt.SGD(1e-9), cross_entropy, metrics=[tfopt.metrics.ZeroOne()], jit_compile=jit)
    stop = keras.callbacks.EarlyStopping("zero_one", patience=1)
    history = model.fit(SCORES, CLASSES, epochs=9, verbose=0, callbacks=[stop]).history
    assert len(history["zero_one"]) == 2
    wrong = np.mean(model.predict(SCORES, verbose=0).argmax(1) != CLASSES)
    assert history["zero_one"][-1] == pytest.approx(wrong, abs=1e-6)


@pytest.mark.parametrize("kind", [tfopt.losses.ZeroOne, tfopt.metrics.ZeroOne])
def test_configuration_round_trip(kind):
    made = kind("binary", threshold=0.25, name="wrong")
    again = type(made).from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert (again.labels, again.threshold, again.name) == ("binary", 0.25, "wrong")
    assert float(again([1.0, 0.0], [0.3, 0.2])) == 0.0


@pytest.mark.parametrize("kind", [tfopt.losses.ZeroOne, tfopt.metrics.ZeroOne])
@pytest.mark.parametrize(
    ("argument", "value"), [("labels", "dense"), ("threshold", None), ("threshold", np.nan)]
)
def test_refuses_bad_arguments(kind, argument, value):
    with pytest.raises(ValueError) as caught:
        kind(**{argument: value})
    assert str(caught.value).startswith(f"ZeroOne({argument}={value!r}): expected ")
