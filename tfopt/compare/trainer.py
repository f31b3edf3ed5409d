"""Trains one model with many optimizers, each traced once."""

import keras
import numpy as np
import tensorflow as tf

from tfopt.analysis._restart import restart_optimizer
from tfopt.callbacks import EvaluationWeights
from tfopt.compare.batches import endless_batches, scaled
from tfopt.compare.listening import listening
from tfopt.compare.models import build_model
from tfopt.compare.recorder import Recorder
from tfopt.compare.run import Run

MEASURED_AT_ONCE = 512
# In a run limited by seconds: evaluations between two looks at the clock.
LOOK_EVERY = 10


class Trainer:
    """Runs training tasks on one model and one data set.

    Keras traces the train step anew for each optimizer, which costs more than a short run. So one model
    serves all, and one traced train step serves every run of an optimizer: before each run the weights,
    the optimizer's state and its learning rate are set to what a newly built model and optimizer hold.
    A run's result does therefore not depend on what ran before it.

    Args:
        settings: `Settings` of the comparison.
        images: `Images` to train on.
    """

    def __init__(self, settings, images):
        self.settings = settings
        self.images = images
        # All seeds at once, since setting a seed empties TensorFlow's caches and slows the next step.
        models = [self._new_model(seed) for seed in range(settings.seeds + 1)]
        self._initial = [[variable.numpy() for variable in self._state(model)] for model in models]
        self.model = models[0]
        self._prepared = None
        self._loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._measure_batch = tf.function(self._measure_batch_eagerly, reduce_retracing=True, autograph=False)
        self._train_sample = tuple(part[: len(images.validation[1])] for part in images.train)

    def run(self, spec, task, budget, progress=lambda share: None):
        """Train as `task` says for `budget`.

        Args:
            spec: `OptimizerSpec` of the task's optimizer.
            task: `Task`.
            budget: `Budget`.
            progress: Called with the share of the budget used.

        Returns:
            `Run`.
        """
        self._prepare(spec, task.learning_rate, budget)
        self._restart(spec, task)
        recorder = Recorder(budget, self.settings.points, self._measure, progress)
        with listening("tfopt") as said:
            self._fit(spec, task.seed, budget, recorder)
        report = "; ".join(sentence.removeprefix(f"{spec.cls.__name__}: ").rstrip(".") for sentence in said)
        return Run(task, tuple(recorder.points), self._test_accuracy(), recorder.diverged, report)

    def _prepare(self, spec, rate, budget):
        """Compile and trace for this optimizer and length of execution, unless that is what was done last."""
        steps = self._steps(budget)
        if self._prepared == (spec.label, steps):
            return
        optimizer = spec.build(rate)
        self.model.compile(optimizer, self._loss, steps_per_execution=steps, jit_compile=False)
        self.model.fit(
            self._batches(0), steps_per_epoch=1, verbose=0, shuffle=False, callbacks=self._callbacks(spec)
        )
        self._prepared = (spec.label, steps)

    def _steps(self, budget):
        if budget.evaluations is None:
            return LOOK_EVERY
        return max(1, -(-self.settings.evaluations // self.settings.points))

    def _fit(self, spec, seed, budget, recorder):
        steps = self._steps(budget)
        batches = self._batches(seed)
        self.model.fit(
            batches if budget.evaluations is None else batches.take(budget.evaluations),
            epochs=2**31 if budget.evaluations is None else -(-budget.evaluations // steps),
            steps_per_epoch=steps,
            verbose=0,
            shuffle=False,
            callbacks=[*self._callbacks(spec), recorder],
        )

    def _batches(self, seed):
        images, labels = self.images.train
        return endless_batches(images, labels, self.settings.batch_size, seed)

    def _callbacks(self, spec):
        return [EvaluationWeights()] if spec.is_tfopt else []

    def _restart(self, spec, task):
        for variable, value in zip(self._state(self.model), self._initial[task.seed], strict=True):
            variable.assign(value)
        restart_optimizer(
            self.model.optimizer, spec.build(task.learning_rate), self.model.trainable_variables
        )

    def _new_model(self, seed):
        return build_model(self.settings.model, self.images.shape, self.images.classes, seed)

    def _state(self, model):
        """Weights and seeds; not the metrics, which Keras resets itself."""
        metrics = {id(variable) for variable in model.metrics_variables}
        return [variable for variable in model.variables if id(variable) not in metrics]

    def _measure(self):
        train_loss, _ = self._measure_part(*self._train_sample)
        return train_loss, *self._measure_part(*self.images.validation)

    def _test_accuracy(self):
        return None if self.images.test is None else self._measure_part(*self.images.test)[1]

    def _measure_part(self, images, labels):
        sums = np.zeros(2)
        for start in range(0, len(labels), MEASURED_AT_ONCE):
            piece = slice(start, start + MEASURED_AT_ONCE)
            sums += [float(value) for value in self._measure_batch(images[piece], labels[piece])]
        return tuple((sums / len(labels)).tolist())

    def _measure_batch_eagerly(self, images, labels):
        logits = self.model(scaled(images), training=False)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        correct = tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
        return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(correct, tf.float32))
