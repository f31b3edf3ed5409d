"""One evaluation on one device for a method that treats all weights as one vector.

The counterpart of `_update.py`: only local tensors and variables; no Keras, no strategy.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfopt.kernels._glue import compiled_by_xla, copied_behind_one_another
from tfopt.optimizers._machine import Evaluation, Row, Slot
from tfopt.optimizers._update import any_shown, compute_dtype, context, mark
from tfopt.optimizers._vectors import opaque, placed, precision, rows_of, write_row


def vector_dtype(weights):
    """The dtype of the vector: the widest that the weights compute in."""
    wide = {compute_dtype(tf.as_dtype(w.dtype)) for w in weights}
    return tf.float64 if tf.float64 in wide else tf.float32


def run(machine, step, options):
    """The whole train step: accumulate, hand the evaluation to the machine, write what it answers."""
    tf.cond(any_shown(step, options), lambda: adopt(machine, step, options), _nothing)
    dtype = vector_dtype(step.weights)
    now = Pass(_copied(step.gradients, dtype), tf.cast(step.loss, tf.float64), step.answer)
    if not options.accumulation:
        _evaluated(machine, step, options, now)
        return
    total = Pass(*(None if new is None else old + new for old, new in zip(_sums(step), now, strict=True)))
    count = step.accumulated + 1
    tf.cond(
        tf.equal(count, options.accumulation),
        lambda: _release(machine, step, options, total),
        lambda: _hold(step, total, count),
    )


def accumulators(machine):
    """State of a method whose full batch is several train steps."""
    slots = [
        Slot("accumulated", scalar=True),
        Slot("gradient_accumulator", shape=lambda n: (n,)),
        Slot("loss_accumulator", scalar=True),
    ]
    if machine.curvature == "product":
        slots.append(Slot("answer_accumulator", shape=lambda n: (n,)))
    if machine.curvature == "hessian":
        slots.append(Slot("answer_accumulator", shape=lambda n: (n, n)))
    return slots


def unscaled(step, factor):
    """The step as if Keras had not multiplied the loss by `factor` before taking gradients."""
    if factor is None:
        return step
    return step._replace(gradients=[g / tf.cast(factor, g.dtype) for g in step.gradients])


def answer(machine, step, hessian):
    """What the machine wants to know of the Hessian, if anything, on this replica's share of the batch."""
    state = _state(step)
    size = sum(weight.shape.num_elements() for weight in step.weights)
    shape = (size, size) if machine.curvature == "hessian" else (size,)
    return tf.cond(
        machine.awaits(state),
        lambda: asked(machine, hessian, state),
        lambda: tf.zeros(shape, vector_dtype(step.weights)),
    )


class Pass(NamedTuple):
    """What one evaluation, or the batches of it so far, came to."""

    gradient: Any
    loss: Any
    answer: Any = None  # Hv, H, or None where curvature is not a matter of single batches


def expose(machine, step, options):
    """Let the weights hold the iterate; keep the trial point in the state."""
    _switch(machine.expose, step, options)
    return mark(step, options, True)


def hide(machine, step, options):
    """Undo `expose`."""
    _switch(machine.resume, step, options)
    return mark(step, options, False)


def restart(machine, step, options):
    """Let the weights hold the iterate, whose evaluation is then taken for the first."""
    state = _state(step)
    point, _ = machine.expose(
        [_copied(step.weights, vector_dtype(step.weights))], state, context(step, options)
    )
    _write(step, point, state | machine.restart())
    _clear(step)
    return True


def _switch(function, step, options):
    point = [_copied(step.weights, vector_dtype(step.weights))]
    _write(step, *function(point, _state(step), context(step, options)))


def adopt(machine, step, options):
    """Take what the weights hold for the iterate, and evaluate it once more; the trial point is given up."""
    step.slots["iterate"].assign(_copied(step.weights, vector_dtype(step.weights)))
    step.slots["phase"].assign(machine.revisit(_state(step))["phase"])
    _clear(step)
    return mark(step, options, False)


def _clear(step):
    """Begin a new pass over the batches."""
    for variable in _accumulators(step):
        variable.assign(tf.zeros_like(variable))


def _release(machine, step, options, total):
    count = float(options.accumulation)
    mean = Pass(*(None if value is None else value / count for value in total))
    _evaluated(machine, step, options, mean)
    return _hold(step, Pass(*(0.0 if v is None else tf.zeros_like(v) for v in total)), 0.0)


def _hold(step, total, count):
    for variable, value in zip(_accumulators(step), (count, *total), strict=False):
        variable.assign(tf.cast(value, variable.dtype))
    return True


def _accumulators(step):
    """Count, gradient, loss and answer; none without accumulation, and no answer where none is summed."""
    found = (step.accumulated, *step.accumulators, step.loss_accumulator, step.answer_accumulator)
    return [variable for variable in found if variable is not None]


def _sums(step):
    return [
        None if v is None else tf.convert_to_tensor(v)
        for v in (*step.accumulators, step.loss_accumulator, step.answer_accumulator)
    ]


def _evaluated(machine, step, options, now):
    with placed(step.weights[0].device, options.fused):
        _answer(machine, step, options, now)


def _answer(machine, step, options, now):
    dtype = now.gradient.dtype
    here = context(step, options)._replace(precision=max(precision(dtype), precision(step.loss.dtype)))
    gradient, loss = opaque(now.gradient, now.loss)
    evaluation, point = Evaluation([gradient], loss), [_copied(step.weights, dtype)]
    state = _state(step)
    state |= {slot.name: rows_of(step.slots[slot.name]) for slot in machine.slots if slot.by_rows}
    _write(step, *answered(machine, evaluation, point, state, here, step.curvature, now.answer))


def answered(machine, evaluation, point, state, now, curvature=None, answer=None):
    """The machine's next point and state after an evaluation.

    Args:
        machine: A `tfopt.optimizers._machine.Machine`.
        evaluation: What was measured.
        point: Where.
        state: The machine's state.
        now: The context.
        curvature: Where curvature can be asked for at once, as often as it takes: the `product` or `hessian`
            at `point`.
        answer: Where it comes with the next evaluation instead: what the machine had asked for.
    """
    go_on = lambda: machine.step(evaluation, point, state, now)  # noqa: E731
    if machine.curvature is None:
        return go_on()
    if answer is not None:
        return tf.cond(machine.awaits(state), lambda: machine.absorb(answer, point, state, now), go_on)

    def ask(at, state):
        return machine.absorb(asked(machine, curvature, state), at, state, now)

    return tf.while_loop(lambda _, state: machine.awaits(state), ask, go_on())


def asked(machine, curvature, state):
    """What the machine wants to know of the Hessian."""
    if machine.curvature == "hessian":
        (answer,) = opaque(curvature.hessian())
    else:
        (answer,) = opaque(curvature.product(machine.probe(state)))
    return answer


def joined(parts, dtype):
    """Tensors or variables as one vector."""
    return tf.concat(_flattened(parts, dtype), axis=0)


def _copied(parts, dtype):
    """The same where nothing asks for its derivative."""
    flat = _flattened(parts, dtype)
    return copied_behind_one_another(flat) if compiled_by_xla() else tf.concat(flat, axis=0)


def _flattened(parts, dtype):
    return [tf.reshape(tf.cast(tf.convert_to_tensor(part), dtype), [-1]) for part in parts]


def _state(step):
    return {name: tf.convert_to_tensor(variable) for name, variable in step.slots.items()}


def _write(step, point, state):
    (vector,) = point
    pieces = tf.split(vector, [w.shape.num_elements() for w in step.weights])
    for weight, piece in zip(step.weights, pieces, strict=True):
        weight.assign(tf.cast(tf.reshape(piece, weight.shape), weight.dtype))
    for name, variable in step.slots.items():
        _assign(variable, state[name])


def _assign(variable, value):
    if isinstance(value, Row):
        # In place: a history is many times as large as what changes of it.
        write_row(variable, value.index, value.value)
    else:
        variable.assign(value)


def _nothing():
    return True
