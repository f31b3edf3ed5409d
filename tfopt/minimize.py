"""minimize: the optimizers' own machines, driven by a loop over a function."""

import copy

import tensorflow as tf

from tfopt._check import require, require_integer, require_not_negative
from tfopt.optimizers._descent import DescentMachine, Phase
from tfopt.optimizers._flat import answered
from tfopt.optimizers._machine import Context, Evaluation, Row
from tfopt.optimizers._result import Status, result_of
from tfopt.optimizers._vectors import dense, precision
from tfopt.repair.stopped_moments import warn_of_stopped_moments


def minimize(fun, x0, method="LBFGS", tol=1e-6, max_evaluations=1000, callback=None):
    """Minimise a TensorFlow function of a tensor, or of a nest of tensors, from `x0`.

    Runs the state machine of one of tfopt's direction methods, the one that trains a Keras model with
    ``model.compile(optimizer=...)``, in a `tf.while_loop`. The function is traced once and its gradient comes
    from `tf.GradientTape`. Dot products are summed in float64; in float64 the methods reach about 1e-12 of a
    well-scaled gradient, in float32 about 1e-5.

    Args:
        fun: ``fun(x)``, a real scalar made of differentiable TensorFlow operations.
        x0: Start: a tensor, an array or a number, or a nest of these, of float32 or float64.
        method: Name of a direction method, such as "LBFGS", or an optimizer of tfopt built from one, whose
            learning rate counts as it stands.
        tol: Stop once every |∂f/∂xᵢ| ≤ tol; in units of the function per unit of x.
        max_evaluations: Stop after so many evaluations of function and gradient.
        callback: ``callback(result)``, called with the `Result` so far after each iteration; a true value
            stops.

    Returns:
        A `Result`. The start is evaluated first; where it is not finite nothing can be done and the status
        says so.

    Raises:
        ValueError: If an argument lies outside its range, or the function's value is no real scalar.
        RuntimeError: Inside of a `tf.function`, where the run could not be watched.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> def rosenbrock(x):
        ...     return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> found = tfopt.minimize(rosenbrock, tf.constant([-1.2, 1.0], tf.float64))
        >>> found.status.name, found.x.numpy().round(4).tolist()
        ('CONVERGED', [1.0, 1.0])

    Source: chapter sections 6 and 7; Nocedal and Wright, Numerical Optimization, 2006.
    """
    if tf.inside_function():
        raise RuntimeError("minimize: call it outside of tf.function; it compiles `fun` by itself.")
    require(callable(fun), "minimize", "fun", fun, "a function")
    require_not_negative("minimize", tol=tol)
    require_integer("minimize", 1, max_evaluations=max_evaluations)
    require(callback is None or callable(callback), "minimize", "callback", callback, "a function or None")
    space = Space(x0)
    method = method_of(method)
    run = Run(machine_of(method, tol), fun, space, float(method.learning_rate), bool(callback))
    return run.to_the_end(max_evaluations, callback)


def method_of(method):
    """The optimizer that a direction method's name means."""
    from tfopt import optimizers

    if isinstance(method, str) and method in optimizers.DIRECTION_METHODS:
        return getattr(optimizers, method)()
    return method


def machine_of(method, tol):
    """The method's machine, stopping at `tol`."""
    machine = copy.copy(getattr(method, "machine", None))
    expected = "a direction method such as 'LBFGS', by its name or as an optimizer"
    if not isinstance(machine, DescentMachine):
        raise ValueError(f"minimize(method={method!r}): expected {expected}.")
    machine.tolerance = float(tol)
    return machine


class Space:
    """The structure of `x0` and its elements as one vector."""

    def __init__(self, x0):
        self.structure = tf.nest.map_structure(tf.convert_to_tensor, x0)
        self.parts = tf.nest.flatten(self.structure)
        for part in self.parts:
            good = part.dtype in (tf.float32, tf.float64)
            require(good, "minimize", "x0", x0, f"tensors of float32 or float64, not {part.dtype.name}")
        require(sum(map(tf.size, self.parts)) > 0, "minimize", "x0", x0, "at least one element")
        wide = any(part.dtype == tf.float64 for part in self.parts)
        self.dtype = tf.float64 if wide else tf.float32

    @property
    def start(self):
        """`x0` as a vector."""
        return tf.concat([tf.reshape(tf.cast(part, self.dtype), [-1]) for part in self.parts], axis=0)

    def nest(self, vector):
        """A vector in the structure of `x0`."""
        pieces = tf.split(vector, [part.shape.num_elements() for part in self.parts])
        shaped = [
            tf.cast(tf.reshape(piece, part.shape), part.dtype)
            for piece, part in zip(pieces, self.parts, strict=True)
        ]
        return tf.nest.pack_sequence_as(self.structure, shaped)


class Hessian:
    """∇²f at a point, by differentiating twice."""

    def __init__(self, fun, point):
        self.fun, self.point = fun, point

    def product(self, vector):
        """∇²f v."""
        with tf.GradientTape() as outer:
            outer.watch(self.point)
            with tf.GradientTape() as inner:
                inner.watch(self.point)
                value = self.fun(self.point)
            gradient = inner.gradient(value, self.point, unconnected_gradients="zero")
        return outer.gradient(gradient, self.point, vector, unconnected_gradients="zero")

    def hessian(self):
        """∇²f."""
        return dense(self.product, self.point.shape[0], self.point.dtype)


class Run:
    """One minimisation."""

    def __init__(self, machine, fun, space, rate, one_by_one):
        self.machine, self.fun, self.space, self.one_by_one = machine, fun, space, one_by_one
        machine.admit(space.start.shape[0], space.dtype)
        self.rate = tf.constant(rate, tf.float64)

    def to_the_end(self, max_evaluations, callback):
        """Evaluate until something ends it."""
        point, state = self.space.start, self._first_state()
        limit = tf.constant(max_evaluations, tf.float64)
        # Traced by hand: TensorFlow warns where one function is traced again and again, as here for each run.
        traced = tf.function(self._advance, autograph=False)
        advance = traced.get_concrete_function(point, state, limit)
        while True:
            point, state = advance(point, state, limit)
            result = self._result(state, max_evaluations)
            if result.status is not Status.RUNNING:
                return result
            if callback(result):
                return result._replace(status=Status.STOPPED)

    def _first_state(self):
        """The machine's state before the first evaluation."""
        size = self.space.start.shape[0]
        return {slot.name: slot.value(size, self.space.dtype) for slot in self.machine.slots}

    def _advance(self, point, state, limit):
        """Evaluate until the run or its budget has ended; with a callback, until the next iterate."""
        before = state["iterations"]

        def goes_on(point, state):
            begins, searches = (tf.equal(state["phase"], float(p)) for p in (Phase.START, Phase.SEARCH))
            same = tf.equal(state["iterations"], before) if self.one_by_one else True
            return (state["evaluations"] < limit) & (begins | searches) & same

        return tf.while_loop(goes_on, self._evaluate, (point, state))

    def _evaluate(self, point, state):
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = self._value(point)
        gradient = tape.gradient(value, point, unconnected_gradients="zero")
        if self.machine.curvature:
            warn_of_stopped_moments(tf.compat.v1.get_default_graph())
        t = state["evaluations"] + 1.0
        now = Context(t, self.rate, (1.0,), precision=precision(value.dtype), steady=True)
        evaluation = Evaluation([gradient], value)
        curvature = Hessian(self._value, point)
        (point,), new = answered(self.machine, evaluation, [point], state, now, curvature)
        return point, {name: written(state[name], value) for name, value in new.items()}

    def _value(self, point):
        given = self.fun(self.space.nest(point))
        try:
            value = tf.convert_to_tensor(given)
        except (TypeError, ValueError):
            value = None
        good = value is not None and value.dtype.is_floating and value.shape.rank == 0
        came = type(given).__name__ if value is None else f"{value.dtype.name} of shape {value.shape}"
        require(good, "minimize", "fun", self.fun, f"a function of a real scalar value, got {came}")
        return value

    def _result(self, state, max_evaluations):
        result = result_of(self.machine, lambda name: state.get(name, 0), self.space.nest(state["iterate"]))
        spent = result.status is Status.RUNNING and result.evaluations >= max_evaluations
        return result._replace(status=Status.MAX_EVALUATIONS) if spent else result


def written(old, new):
    """A slot's new value; where that is a row, the old value with this row."""
    if not isinstance(new, Row):
        return new
    put = lambda: tf.tensor_scatter_nd_update(old, [[new.index]], new.value[None])  # noqa: E731
    return tf.cond(new.index < 0, lambda: old, put)
