"""What the tests of all first-order optimizers share: inputs, ways to run one, and the comparison.

All weights of a run are one flat vector here, cut into tensors of several shapes for the optimizer. A
reference is a generator in float64 NumPy: from the start and a gradient ``gradient(t, point)`` (t from 1) it
yields, update by update, the iterate and a dict of the slots; "query" in that dict is the point the
variables hold where it is not the iterate.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

SHAPES = ((), (3,), (2, 3), (1, 2, 2), (1,))
STEPS = 12
SAME = 1e-9  # relative to the step; wrong formulas must miss it by a factor of 1000
ROUNDING = 64 * np.finfo(np.float64).eps


def _sizes(shapes):
    return [int(np.prod(shape)) for shape in shapes]


def _cut(vector, shapes):
    parts = np.split(np.asarray(vector), np.cumsum(_sizes(shapes))[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _flat(variables):
    return np.concatenate([np.ravel(v.numpy()) for v in variables])


def _state(optimizer, paths):
    """Every slot of the optimizer as one vector, every scalar of its state as a number."""
    gathered = {}
    for (slot, path), variable in optimizer.named_state():
        if path:
            gathered.setdefault(slot, {})[path] = np.ravel(variable.numpy())
        elif slot not in ("iteration", "learning_rate", "exposed", "shown"):
            gathered[slot] = variable.numpy()
    joined = {k: np.concatenate([v[p] for p in paths]) for k, v in gathered.items() if isinstance(v, dict)}
    return gathered | joined


class Recorder:
    """Notes iterate, held point and slots after each update."""

    def __init__(self, optimizer, variables, shown):
        self.optimizer, self.variables, self.shown = optimizer, variables, shown
        self.start = _flat(variables)
        self.iterates, self.queries, self.slots = [], [], []

    def note(self):
        self.queries.append(_flat(self.variables))
        self.slots.append(_state(self.optimizer, [v.path for v in self.variables]))
        if self.shown:
            self.optimizer.to_evaluation_weights()
        self.iterates.append(_flat(self.variables))
        if self.shown:
            self.optimizer.to_training_weights()


@pytest.fixture(scope="session")
def start():
    """Initial weights."""
    return np.random.default_rng(3).normal(size=sum(_sizes(SHAPES)))


@pytest.fixture(scope="session")
def gradients():
    """Gradients given beforehand: mixed sign, six decades, one weight without any, one that pauses."""
    rng = np.random.default_rng(5)
    size = (STEPS, sum(_sizes(SHAPES)))
    table = rng.choice([-1.0, 1.0], size) * 10.0 ** rng.uniform(-4, 2, size)
    table[:, 4] = 0.0
    table[5, 7] = 0.0
    return lambda t, point: table[t - 1]


@pytest.fixture(scope="session")
def drive():
    """drive(optimizer, start, gradient, steps): updates through `optimizer.apply`, recorded.

    With `shown` the iterate is looked at through `to_evaluation_weights` after every update.
    """

    def run(optimizer, start, gradient, steps=STEPS, shown=False):
        shapes = SHAPES if len(start) == sum(_sizes(SHAPES)) else ((len(start),),)
        parts = _cut(start, shapes)
        variables = [keras.Variable(p, dtype="float64", name=f"w{i}") for i, p in enumerate(parts)]
        record = Recorder(optimizer, variables, shown)
        for t in range(1, steps + 1):
            pieces = _cut(gradient(t, _flat(variables)), shapes)
            optimizer.apply([tf.constant(g, tf.float64) for g in pieces], variables)
            record.note()
        return record

    return run


@pytest.fixture(scope="session")
def drive_keras():
    """drive_keras(optimizer, start, gradient): the same updates by an optimizer of Keras' own."""

    def run(optimizer, start, gradient, steps=STEPS):
        variable = keras.Variable(start, dtype="float64")
        points = []
        for t in range(1, steps + 1):
            optimizer.apply([tf.constant(gradient(t, variable.numpy()), tf.float64)], [variable])
            points.append(variable.numpy())
        return points

    return run


def _error(run, reference):
    """The largest error of a run: of its steps and query points by the step, of its slots by the slot."""
    worst, before, held = 0.0, run.start, run.start
    for index, (iterate, slots) in enumerate(itertools.islice(reference, len(run.iterates))):
        slots = dict(slots)
        query = slots.pop("query", iterate)
        assert slots.keys() == run.slots[index].keys()
        step, rounding = np.abs(iterate - before), ROUNDING * (1 + np.abs(iterate))
        moved = run.iterates[index] - held
        pairs = [(moved, iterate - before, step, rounding)]
        pairs.append((run.queries[index], query, step, rounding))
        pairs += [(run.slots[index][k], v, np.abs(v), 0.0) for k, v in slots.items()]
        for got, expected, scale, allowed in pairs:
            excess = np.maximum(np.abs(got - expected) - allowed, 0.0)
            worst = max(worst, float(np.max(excess / (scale + 1e-300))))
            assert np.isfinite(got).all()
        before, held = iterate, run.iterates[index]
    return worst


@pytest.fixture(scope="session")
def assert_equal():
    """assert_equal(run, reference): same steps, query points and slots."""

    def check(run, reference):
        error = _error(run, reference)
        assert error < SAME

    return check


@pytest.fixture(scope="session")
def assert_differs():
    """assert_differs(run, wrong): the tolerance of `assert_equal` sees clearly that the formula is wrong."""

    def check(run, wrong):
        error = _error(run, wrong)
        assert error > 1000 * SAME

    return check


class LeastSquares:
    """A linear model with its mean squared error on one full batch, in Keras and in NumPy."""

    def __init__(self):
        rng = np.random.default_rng(11)
        self.x = rng.normal(size=(8, 3))
        self.y = rng.normal(size=(8, 2))
        self.theta = rng.normal(size=8)

    def loss(self, theta):
        """Mean squared error at a flat vector of kernel and bias."""
        return np.mean(self._residual(theta) ** 2)

    def gradient(self, t, theta):
        """Its gradient."""
        share = 2 * self._residual(theta) / self.y.size
        return np.concatenate([np.ravel(self.x.T @ share), share.sum(0)])

    def _residual(self, theta):
        return self.x @ theta[:6].reshape(3, 2) + theta[6:] - self.y

    def model(self, optimizer):
        """The compiled model at `theta`."""
        model = keras.Sequential([keras.Input((3,), dtype="float64"), keras.layers.Dense(2, dtype="float64")])
        model.set_weights([self.theta[:6].reshape(3, 2), self.theta[6:]])
        loss = keras.losses.MeanSquaredError(dtype="float64")
        model.compile(optimizer, loss, jit_compile=False)
        return model

    def batches(self):
        """The full batch, over and over."""
        return tf.data.Dataset.from_tensors((self.x, self.y)).repeat()

    def weights(self, model):
        """The model's weights as a flat vector."""
        return _flat(model.trainable_variables)

    def fit(self, optimizer, steps=STEPS):
        """A recorded `model.fit`; `final` is what the model holds afterwards."""
        model = self.model(optimizer)
        record = Recorder(optimizer, model.trainable_variables, shown=False)
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: record.note())
        options = dict(steps_per_epoch=steps, shuffle=False, verbose=0)
        model.fit(self.batches(), callbacks=[note], **options)
        record.model, record.final = model, self.weights(model)
        return record


@pytest.fixture(scope="session")
def least_squares():
    """A small problem that runs through `model.fit`."""
    return LeastSquares()


@pytest.fixture(scope="session")
def simulate():
    """simulate(optimizer, variable, gradient, steps, measure): many updates in one graph.

    ``gradient(k, w)`` with k from 0; returns ``measure(w)`` after each update, stacked.
    """

    def run(optimizer, variable, gradient, steps, measure=tf.identity):
        optimizer.build([variable])

        @tf.function
        def loop():
            seen = tf.TensorArray(tf.float64, steps)
            for k in tf.range(steps):
                optimizer.apply([gradient(k, variable.value)], [variable])
                seen = seen.write(k, measure(variable.value))
            return seen.stack()

        return loop().numpy()

    return run


@pytest.fixture(scope="session")
def slope():
    """slope(k, values): exponent of a power law through the values."""
    return lambda k, values: np.polyfit(np.log(k), np.log(values), 1)[0]


@pytest.fixture(scope="session")
def momentum_schedule():
    """A momentum that grows during a run, and its value at update t (from 1)."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3, 6], [0.5, 0.75, 0.9375])
    return schedule, lambda t: 0.5 if t <= 4 else 0.75 if t <= 7 else 0.9375


@pytest.fixture(scope="session")
def assert_refuses():
    """assert_refuses(make, argument, value, **others): a ValueError in the house's form, at construction."""

    def check(make, argument, value, **others):
        with pytest.raises(ValueError) as caught:
            make(**{argument: value}, **others)
        message = str(caught.value)
        assert message.startswith(f"{make.__name__}({argument}={value!r}): expected ")
        assert message.endswith(".")

    return check
