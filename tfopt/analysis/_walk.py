"""Walks an optimizer over functions of the plane."""

import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from tfopt.analysis._restart import restart_optimizer

RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# Heights below this count as arrived, so that no optimizer is chosen for its last decimals.
FLOOR = 1e-4


class Walker:
    """Walks one optimizer over functions of x and y, full batch, through Keras' public `apply`.

    Args:
        build: Function of a learning rate that makes the optimizer, new each time.
        rate: Learning rate that it is first made with.
        functions: Functions of two scalar tensors.
    """

    def __init__(self, build, rate, functions):
        self.new, self.functions = build, tuple(functions)
        self.position = keras.Variable([0.0, 0.0], name="position")
        self.optimizer = build(rate)
        self.optimizer.build([self.position])
        self._walk = tf.function(self._walk_eagerly)

    def path(self, index, start, rate, evaluations):
        """Points from the start on, one per evaluation: the weights that the optimizer stands for.

        Args:
            index: Number of the function.
            start: (x, y).
            rate: Learning rate.
            evaluations: Number of gradients.

        Returns:
            A list of pairs, as long as they are finite.
        """
        if not hasattr(self.optimizer, "to_evaluation_weights"):
            points = self.gradient_points(index, start, rate, evaluations)
        else:
            self._restart(start, rate)
            points = [start, *(self._step_and_show(index) for _ in range(evaluations))]
        points = itertools.takewhile(lambda point: np.all(np.isfinite(point)), points)
        return [(float(x), float(y)) for x, y in points]

    def best_rate(self, surface, index, rates, evaluations):
        """The learning rate that comes down a surface fastest and stays inside its figure."""

        def slow(rate):
            return slowness(surface, self.gradient_points(index, surface.start, rate, evaluations))

        return min(rates, key=slow)

    def gradient_points(self, index, start, rate, evaluations):
        """Where gradients are taken: shape (evaluations + 1, 2), the last one untaken."""
        self._restart(start, rate)
        return np.vstack([start, self._walk(tf.constant(index), tf.constant(evaluations)).numpy()])

    def _restart(self, start, rate):
        self.position.assign(start)
        restart_optimizer(self.optimizer, self.new(rate), [self.position])

    def _step_and_show(self, index):
        self._walk(tf.constant(index), tf.constant(1))
        self.optimizer.to_evaluation_weights()
        shown = self.position.numpy()
        self.optimizer.to_training_weights()
        return shown

    def _walk_eagerly(self, index, evaluations):
        points = tf.TensorArray(tf.float32, evaluations, element_shape=(2,))
        for step in tf.range(evaluations):
            points = points.write(step, self._update(index))
        return points.stack()

    @tf.autograph.experimental.do_not_convert
    def _update(self, index):
        branches = [lambda function=function: self._gradient(function) for function in self.functions]
        gradient = tf.switch_case(index, branches) if len(branches) > 1 else branches[0]()
        self.optimizer.apply([gradient], [self.position])
        return tf.convert_to_tensor(self.position)

    def _gradient(self, function):
        position = tf.convert_to_tensor(self.position)
        with tf.GradientTape() as tape:
            tape.watch(position)
            height = function(position[0], position[1])
        return tape.gradient(height, position)


def slowness(surface, path):
    """Mean of log(height + floor) along a path; +∞ if it leaves the figure."""
    if not (np.all(np.isfinite(path)) and surface.contains(path)):
        return math.inf
    return float(np.mean(np.log(np.maximum(surface.heights(path), 0.0) + FLOOR)))
