"""How a run of a method with a line search stands, or ended."""

import enum
from typing import Any, NamedTuple


class Status(enum.Enum):
    """How a minimisation stands, with a sentence each.

    RUNNING, and at the end of a run CONVERGED, STALLED, UNBOUNDED, NOT_FINITE; from `tfopt.minimize` also
    MAX_EVALUATIONS and STOPPED. The value of a member is its sentence. A method that has ended keeps the
    iterate; in `fit` it goes on from there as soon as the loss is another function.

    Example:
        >>> import tfopt
        >>> tfopt.minimize(lambda x: -x, 0.0).status.value
        'The function falls without end.'

    Source: Nocedal and Wright, Numerical Optimization, 2006, chapter 3, for what can happen in a line search.
    """

    RUNNING = "The run goes on."
    CONVERGED = "No component of the gradient exceeds the tolerance."
    STALLED = "No step, not even along the steepest descent, lowers the function any further."
    UNBOUNDED = "The function falls without end."
    NOT_FINITE = "The function or its gradient is not finite at the start."
    MAX_EVALUATIONS = "The budget of evaluations is spent."
    STOPPED = "The callback asked to stop."


class Result(NamedTuple):
    """What a minimisation has found.

    Attributes:
        x: The last iterate accepted, the best one unless steps are fixed: in the structure and dtypes of
            `x0`, or for a model a list of arrays, one for each trainable variable.
        fun: The function there, a Python number.
        grad_norm: Largest absolute component of the gradient there.
        iterations: Number of iterates accepted after the start.
        evaluations: Number of evaluations of function and gradient that the method has taken. In `fit` that
            is of passes over the accumulated batches: neither one broken off, nor one for a product alone,
            over several batches or replicas, is among them.
        products: Number of products with the Hessian, which cost about two gradients each.
        status: `Status`; its value is a sentence.
        message: What else the method has to tell, in sentences, or "".

    Example:
        >>> import tfopt
        >>> found = tfopt.minimize(lambda x: (x - 3.0) ** 2, 0.0)
        >>> round(float(found.x), 3), found.status.name
        (3.0, 'CONVERGED')

    Source: chapter sections 6 and 7, whose methods end in one.
    """

    x: Any
    fun: float
    grad_norm: float
    iterations: int
    evaluations: int
    products: int
    status: Status
    message: str = ""


def result_of(machine, value, x):
    """How a run stands at the iterate `x`; ``value(name)`` is an entry of the state, 0 if there is none."""
    return Result(
        x=x,
        fun=float(value("value")),
        grad_norm=machine.grad_norm(value),
        iterations=int(value("iterations")),
        evaluations=int(value("evaluations")),
        products=int(value("products")),
        status=Status.__members__.get(machine.phase(value).name, Status.RUNNING),
        message=machine.report(value),
    )
