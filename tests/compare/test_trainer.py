"""One training run: its result, its budget, its clock."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.compare import Settings
from tfopt.compare.batches import endless_batches
from tfopt.compare.images import load_images
from tfopt.compare.models import BUILDERS, build_model
from tfopt.compare.run import Run, Task
from tfopt.compare.settings import Budget
from tfopt.compare.specs import parse_optimizer
from tfopt.compare.trainer import Trainer

SETTINGS = Settings(data="digits", evaluations=10, batch_size=32, points=4, seeds=2)


@pytest.fixture(scope="module")
def images(data_dir):
    return load_images("digits", data_dir)


def run(trainer, name, rate=0.1, seed=1, budget=None):
    spec = parse_optimizer(name)
    task = Task(spec.label, rate, seed, "comparison")
    return trainer.run(spec, task, budget or trainer.settings.budget)


def without_seconds(found):
    values = found.to_json()
    del values["points"]["seconds"]
    return values


def test_a_run_equals_plain_keras(images):
    found = run(Trainer(SETTINGS, images), "keras:SGD(momentum=0.9)")
    model = build_model("mlp", images.shape, 10, seed=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    for x, y in endless_batches(*images.train, 32, seed=1).take(10):
        model.train_on_batch(x, y)
    x, y = images.validation
    expected = model.evaluate(tf.cast(x, tf.float32) / 255, y, verbose=0)
    np.testing.assert_allclose(found.last.validation_loss, expected[0], rtol=1e-4)
    np.testing.assert_allclose(found.last.validation_accuracy, expected[1], rtol=1e-6)
    sample = model.evaluate(
        tf.cast(images.train[0][: len(y)], tf.float32) / 255, images.train[1][: len(y)], verbose=0
    )
    np.testing.assert_allclose(found.last.train_loss, sample[0], rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["Nesterov", "PolyakAverage(Adam)", "AdamThenSGD(switch_at=5)", "keras:Adam"]
)
def test_a_run_does_not_depend_on_what_ran_before(name, images):
    alone = run(Trainer(SETTINGS, images), name, rate=0.01)
    busy = Trainer(SETTINGS, images)
    run(busy, "SGD", rate=1.0, seed=2)
    run(busy, name, rate=0.3, seed=2)
    assert without_seconds(run(busy, name, rate=0.01)) == without_seconds(alone)


def test_all_optimizers_start_at_the_same_weights(images):
    trainer = Trainer(SETTINGS, images)
    losses = {
        run(trainer, name, rate=1e-12).points[0].validation_loss for name in ("SGD", "Adam", "keras:SGD")
    }
    assert max(losses) - min(losses) < 1e-5
    other = run(trainer, "SGD", rate=1e-12, seed=2).points[0].validation_loss
    assert abs(other - max(losses)) > 1e-3


def test_measured_are_the_averaged_weights(images):
    trainer = Trainer(SETTINGS, images)
    plain, averaged = run(trainer, "SGD", rate=0.1), run(trainer, "PolyakAverage(SGD)", rate=0.1)
    # The average of falling iterates lags behind the last of them.
    assert averaged.last.train_loss > plain.last.train_loss + 0.01


@pytest.mark.parametrize(("evaluations", "points"), [(10, 4), (7, 3), (3, 5), (1, 1), (12, 12)])
def test_the_budget_is_kept_exactly(evaluations, points, images):
    settings = Settings(data="digits", evaluations=evaluations, points=points, batch_size=8)
    trainer = Trainer(settings, images)
    found = run(trainer, "SGD")
    assert found.last.evaluations == evaluations == int(trainer.model.optimizer.iterations.numpy())
    steps = np.diff([0, *(point.evaluations for point in found.points)])
    assert len(steps) <= points
    assert set(steps[:-1]) <= {-(-evaluations // points)}


def test_a_budget_in_seconds_ends_within_one_look_at_the_clock(images):
    settings = Settings(data="digits", seconds=0.2, points=4, batch_size=8)
    found = run(Trainer(settings, images), "SGD")
    before_last = found.points[-2]
    assert before_last.seconds < 0.2 <= found.last.seconds
    assert found.last.evaluations % 10 == 0


def test_measuring_and_tracing_are_off_the_clock(images, monkeypatch):
    trainer = Trainer(SETTINGS, images)
    measure = trainer._measure
    monkeypatch.setattr(trainer, "_measure", lambda: time.sleep(0.5) or measure())
    start = time.perf_counter()
    found = run(trainer, "SGD")
    outside = time.perf_counter() - start - found.last.seconds
    assert len(found.points) == 4
    assert outside > 2.0 > found.last.seconds


def test_a_diverging_run_ends_early_and_is_marked(images):
    found = run(Trainer(SETTINGS, images), "SGD", rate=1e30)
    assert found.diverged
    assert len(found.points) == 1
    again = Run.from_json(found.to_json())
    assert np.isnan(again.last.train_loss)
    assert again.to_json() == found.to_json()


def test_the_optimizer_reports_its_switch(images):
    found = run(Trainer(SETTINGS, images), "AdamThenSGD(switch_at=5, sgd_learning_rate=0.01)", rate=0.01)
    assert "after update 5" in found.report


@pytest.mark.parametrize("name", BUILDERS)
def test_every_model_trains(name, images):
    settings = Settings(model=name, data="digits", evaluations=30, batch_size=32, points=2)
    found = run(Trainer(settings, images), "Adam", rate=0.01, budget=Budget(evaluations=30))
    assert found.last.train_loss < found.points[0].train_loss
    assert found.last.evaluations == 30
