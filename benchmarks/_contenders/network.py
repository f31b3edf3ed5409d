"""One network and its training on a full batch by L-BFGS, as several libraries do it.

A contender starts every run at the same weights. `count(target)` is how many evaluations of loss and gradient
it takes to a loss, None if it does not get there; `train(evaluations)` spends so many and returns when it is
done. Libraries other than TensorFlow are imported only when a contender is made.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import tfopt
from benchmarks._bandwidth import THREADS

HISTORY = 10
MOST = 500  # evaluations
CLASSES = 10
PENALTY = 1e-4  # of the kernels' squares: without it the loss comes down to its rounding in no time


class Task:
    """Digits, and the weights of one hidden layer of a given width to start from: float32."""

    def __init__(self, width, samples=None):
        images, labels = load_digits(return_X_y=True)
        self.x = (images / 16).astype("float32")[:samples]
        self.y = labels.astype("int64")[:samples]
        rng = np.random.default_rng(0)
        self.start = []
        for fan_in, fan_out in ((self.x.shape[1], width), (width, CLASSES)):
            bound = np.sqrt(6 / (fan_in + fan_out))
            self.start += [rng.uniform(-bound, bound, (fan_in, fan_out)), np.zeros(fan_out)]
        self.start = [w.astype("float32") for w in self.start]
        self.size = sum(w.size for w in self.start)

    def loss(self, k1, b1, k2, b2):
        """Mean cross-entropy and the penalty as TensorFlow computes them."""
        logits = tf.tanh(self.x @ k1 + b1) @ k2 + b2
        mean = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(self.y, logits))
        return mean + PENALTY * (tf.reduce_sum(tf.square(k1)) + tf.reduce_sum(tf.square(k2)))


class Fit:
    """A method of tfopt in `Model.fit` on a repeated data set of one batch.

    With `steps_per_execution` above 1 TensorFlow takes so many steps between two turns of Python's; the last
    execution of an epoch is as long as the others.
    """

    def __init__(
        self, task, make=lambda: tfopt.LBFGS(history=HISTORY), jit_compile=False, steps_per_execution=1
    ):
        hidden, out = (w.shape[1] for w in task.start[::2])
        penalty = keras.regularizers.L2(PENALTY)
        layers = [
            keras.layers.Dense(hidden, "tanh", kernel_regularizer=penalty),
            keras.layers.Dense(out, kernel_regularizer=penalty),
        ]
        self.task = task
        self.model = keras.Sequential([keras.Input(task.x.shape[1:]), *layers])
        self.optimizer, self.jit_compile, self.steps = make(), jit_compile, steps_per_execution
        self._compile(1)
        self.data = tfopt.data.full_batch(tf.data.Dataset.from_tensors((task.x, task.y)))
        self.optimizer.build(self.model.trainable_variables)
        self.model.set_weights(task.start)
        self.keep()
        self.train(1)
        self.count(float("inf"))
        self.start()

    def keep(self):
        """Let further runs start where this one is."""
        self.kept = [variable.numpy() for variable in self._variables()]

    def start(self):
        """Weights and state as they were kept."""
        for variable, value in zip(self._variables(), self.kept, strict=True):
            variable.assign(value)

    def _variables(self):
        return [*self.model.variables, *self.optimizer.variables]

    def _compile(self, steps):
        if self.model.compiled and self.model.steps_per_execution == steps:
            return
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(self.optimizer, loss, jit_compile=self.jit_compile, steps_per_execution=steps)

    def count(self, target):
        """Evaluations up to the one whose loss is no larger than the target."""
        self._compile(1)
        self.start()
        for evaluations in range(1, MOST + 1):
            self.model.train_on_batch(self.task.x, self.task.y)
            if self.optimizer.state_value("value") <= target:
                return evaluations
        return None

    def train(self, evaluations):
        """One epoch of so many steps."""
        self._compile(self.steps)
        self.model.fit(self.data, steps_per_epoch=evaluations, verbose=0)


class SciPy:
    """`scipy.optimize.minimize(method="L-BFGS-B")` on the host, with TensorFlow's gradients."""

    def __init__(self, task):
        import scipy.optimize

        self.task, self.minimize = task, scipy.optimize.minimize
        shapes = [w.shape for w in task.start]
        sizes = [w.size for w in task.start]

        @tf.function(autograph=False)
        def evaluate(vector):
            with tf.GradientTape() as tape:
                tape.watch(vector)
                parts = zip(tf.split(vector, sizes), shapes, strict=True)
                value = task.loss(*(tf.reshape(part, shape) for part, shape in parts))
            return value, tape.gradient(value, vector)

        self._evaluate = evaluate
        self.evaluate(self._vector())

    def evaluate(self, vector):
        """Loss and gradient in float64, of weights rounded to float32."""
        value, gradient = self._evaluate(tf.constant(vector, tf.float32))
        return float(value), gradient.numpy().astype("float64")

    def count(self, target):
        """Evaluations up to the one whose loss is no larger than the target."""
        return counted(self._minimize, self.evaluate, target)

    def lowest(self, evaluations):
        """The loss it reaches in so many."""
        return self._minimize(self.evaluate, evaluations).fun

    def train(self, evaluations):
        """Spend so many; its limit is looked at between iterations only, so the last one is counted here."""
        counted(self._minimize, self.evaluate, -np.inf, evaluations)

    def _minimize(self, function, evaluations=MOST):
        options = {"maxcor": HISTORY, "maxfun": evaluations, "maxiter": evaluations, "ftol": 0.0, "gtol": 0.0}
        return self.minimize(function, self._vector(), jac=True, method="L-BFGS-B", options=options)

    def _vector(self):
        return np.concatenate([w.ravel() for w in self.task.start]).astype("float64")


class Torch:
    """`torch.optim.LBFGS` with its strong Wolfe search."""

    def __init__(self, task):
        import torch

        torch.set_num_threads(THREADS)
        self.torch, self.task = torch, task
        self.x, self.y = torch.tensor(task.x), torch.tensor(task.y)
        self.train(2)

    def count(self, target):
        """Evaluations up to the one whose loss is no larger than the target."""
        self._start()
        return counted(self._minimize, self.evaluate, target)

    def train(self, evaluations):
        """Spend so many."""
        self._start()
        counted(self._minimize, self.evaluate, -np.inf, evaluations)

    def evaluate(self):
        """Loss, and its gradient at the weights."""
        for weight in self.weights:
            weight.grad = None
        k1, b1, k2, b2 = self.weights
        logits = self.torch.tanh(self.x @ k1 + b1) @ k2 + b2
        value = self.torch.nn.functional.cross_entropy(logits, self.y)
        value = value + PENALTY * (self.torch.sum(k1 * k1) + self.torch.sum(k2 * k2))
        value.backward()
        return value.detach(), None

    def _start(self):
        self.weights = [self.torch.tensor(w, requires_grad=True) for w in self.task.start]

    def _minimize(self, function):
        options = dict(max_iter=MOST, max_eval=MOST, tolerance_grad=0.0, tolerance_change=0.0)
        optimizer = self.torch.optim.LBFGS(
            self.weights, history_size=HISTORY, line_search_fn="strong_wolfe", **options
        )
        optimizer.step(lambda: function()[0])


class _Enough(Exception):
    """The target is reached, or the evaluations are spent."""


def counted(minimize, evaluate, target, most=MOST):
    """Evaluations that a minimizer makes up to the one whose loss is no larger than the target, or None.

    After `most` evaluations it is stopped too: most libraries look at their limits between iterations only.
    """
    losses = []

    def counting(*point):
        if losses and (losses[-1] <= target or len(losses) == most):
            raise _Enough
        value, gradient = evaluate(*point)
        losses.append(float(value))
        return value, gradient

    with contextlib.suppress(_Enough):
        minimize(counting)
    return len(losses) if losses[-1] <= target else None
