"""One update on one device: accumulate, check, clip, decay, step, constrain, average, assign.

Only local tensors and variables; no Keras, no strategy. Every function may run eagerly, in a graph, under
XLA, or inside a branch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfopt.kernels import registry
from tfopt.optimizers import _gradients
from tfopt.optimizers._machine import Context, Evaluation, RuleMachine, constrained, decayed


class Step(NamedTuple):
    """All that one update reads and writes; native variables unless said otherwise."""

    gradients: Sequence[Any]  # tensors or IndexedSlices
    weights: Sequence[Any]
    slots: dict  # name -> variable, or list of variables aligned with `weights`
    accumulators: Sequence[Any]
    averages: Sequence[Any]
    skipped: Any  # counter, or None
    exposed: Any  # a flag for each trained variable, or None: what is shown stands in for the training point
    micro_step: Any  # tensor: train steps so far
    learning_rate: Any  # float64 tensor
    loss: Any = None  # tensor, for methods that look at it
    loss_accumulator: Any = None
    accumulated: Any = None  # number of gradients in the accumulators, for such methods
    curvature: Any = None  # the Hessian at the weights, where it can be asked for within the step
    answer: Any = None  # what the method had asked of it, where it cannot
    answer_accumulator: Any = None
    others: Any = None  # the same of variables without gradients, where something is kept of their iterates


class Options(NamedTuple):
    """What is fixed when a step is traced."""

    rows: Sequence[int]
    multipliers: Sequence[float]
    decays: Sequence[bool]
    constraints: Sequence[Any]
    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    accumulation: int | None
    fused: bool
    others: Any = None  # those of the step's others


UNLIKE = (
    "expected the model to hold either evaluation weights or training weights of all that is updated, got "
    "some of each: call the optimizer's to_evaluation_weights() or to_training_weights() before."
)


def compute_dtype(dtype):
    """The dtype of slots and arithmetic for weights of `dtype`: half precisions compute in float32."""
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


def run(machine, step, options):
    """The whole train step's update."""
    kernel = _kernel(machine, step, options)
    if step.exposed is not None:
        tf.cond(any_shown(step, options), lambda: hide(machine, step, options, kernel), _nothing)
    gradients = _gradients.of(kernel, step, options)
    if not options.accumulation:
        _checked_update(kernel, machine, step, options, gradients)
        return
    tf.cond(
        tf.equal((step.micro_step + 1) % options.accumulation, 0),
        lambda: _checked_update(kernel, machine, step, options, gradients),
        lambda: _hold(machine, step, options, gradients),
    )


def _hold(machine, step, options, gradients):
    if machine.wanders:
        _pass_by(_wandered, machine, step, options)
        _assign_all(step, *machine.wander(_point(step), _state(step), context(step, options)))
    return gradients.hold()


def any_shown(step, options):
    """Whether some of the step's weights stand in for the training point."""
    return tf.reduce_any(step.exposed & _own(step, options))


def _all_shown(step, options):
    return tf.reduce_all(step.exposed | ~_own(step, options))


def mark(step, options, as_shown):
    """Set the flags of the step's weights."""
    own = _own(step, options)
    step.exposed.assign(step.exposed | own if as_shown else step.exposed & ~own)
    return True


def _own(step, options):
    """Which of the flags are those of the step's weights: gathering them would cost a TPU far more."""
    return np.isin(np.arange(step.exposed.shape[0]), options.rows)


def expose(machine, step, options):
    """Let the weights hold what a user should see; keep the training point in the state."""
    now = context(step, options)
    if step.averages:
        # Before the first update there is no average.
        tf.cond(
            now.t > 1.0,
            lambda: _swap(step.weights, step.averages),
            lambda: _assign(step.averages, step.weights),
        )
    else:
        _assign_all(step, *machine.expose(_point(step), _state(step), now))
    return mark(step, options, True)


def hide(machine, step, options, kernel=None):
    """Undo `expose`."""
    tf.debugging.Assert(_all_shown(step, options), [UNLIKE])
    if _hidden_by(kernel, machine, step, options):
        pass
    elif step.averages:
        _swap(step.weights, step.averages)
    else:
        _assign_all(step, *machine.resume(_point(step), _state(step), context(step, options)))
    return mark(step, options, False)


def adopt(machine, step, options):
    """As `hide`, of weights that are not what was shown: they are the new training point."""
    if step.averages:
        _assign(step.averages, step.weights)
    else:
        _assign_all(step, *machine.adopt(_point(step), _state(step), context(step, options)))
    return mark(step, options, False)


def _hidden_by(kernel, machine, step, options):
    """Whether the kernel brought the training point back, at no cost to the steps that need not."""
    if "exposure" not in getattr(kernel, "fuses", ()):
        return False
    if step.averages:
        return kernel.swap(step.weights, step.averages)
    now = context(step, options)
    carried = {name: tf.convert_to_tensor(step.slots[name]) for name in machine.rule.carried}
    slots = [step.slots[name] for name in machine.rule.slots]
    return kernel.displace(step.weights, slots, machine.scalars(carried, now, _kinds(step)))


def context(step, options):
    """Number of this update and its ε; updates left out do not count."""
    updates = step.micro_step // (options.accumulation or 1)
    if step.skipped is not None:
        updates -= tf.convert_to_tensor(step.skipped)
    t = tf.cast(updates + 1, tf.float64)
    return Context(t, step.learning_rate, options.multipliers, options.rows)


def _nothing():
    return True


def _checked_update(kernel, machine, step, options, gradients):
    if step.skipped is None:
        return _update(kernel, machine, step, options, gradients)
    return tf.cond(
        gradients.finite(),
        lambda: _update(kernel, machine, step, options, gradients),
        lambda: _skip(step, gradients),
    )


def _skip(step, gradients):
    step.skipped.assign_add(1)
    return gradients.drop()


def _update(kernel, machine, step, options, gradients):
    now = context(step, options)
    _pass_by(_rested, machine, step, options)
    if kernel is None:
        _update_by_machine(machine, step, options, gradients.dense(), now)
        return gradients.drop()
    _update_by_kernel(kernel, machine, step, options, gradients, now)
    return True


def _pass_by(function, machine, step, options):
    """Let the variables without gradients go through it too, but for those that are shown."""
    if step.others is None:
        return
    step, options = step.others, options.others
    kept = [step.exposed[row] for row in options.rows]
    change = lambda: _changed(function, machine, step, options, kept)  # noqa: E731
    tf.cond(_all_shown(step, options), _nothing, change)


def _changed(function, machine, step, options, kept):
    point, state, averages = function(machine, step, options, context(step, options))
    _assign_unless(kept, step.weights, point)
    if step.averages:
        _assign_unless(kept, step.averages, averages)
    for name, variables in step.slots.items():
        if isinstance(variables, list):
            _assign_unless(kept, variables, state[name])
    return True


def _rested(machine, step, options, now):
    """Point, state and averages after an update that leaves the iterate where it is."""
    iterate, state = machine.iterate(_point(step), _state(step), now), machine.idle(_state(step), now)
    state = machine.settle(iterate, state, now)
    averages = None
    if step.averages:
        averages, iterate = _averaged(step, options, iterate, now.t)
    return machine.query(iterate, state, now.following()), state, averages


def _wandered(machine, step, options, now):
    return *machine.wander(_point(step), _state(step), now), step.averages


def _assign_unless(kept, variables, values):
    for shown, variable, value in zip(kept, variables, values, strict=True):
        variable.assign(tf.where(shown, variable, tf.cast(value, variable.dtype)))


def _adds(machine, step, options):
    """Whether a rule's increments can be added to the variables in place: nothing acts on the new iterate."""
    own = all(w.dtype == compute_dtype(w.dtype) for w in step.weights)
    free = not (any(options.constraints) or any(options.decays) or step.averages or machine.displaced)
    return own and free and isinstance(machine, RuleMachine)


def _add_by_machine(machine, step, gradients, now):
    # Spares a buffer per weight: assigning p + Δ would need a new one, adding Δ does not.
    increments, state = machine.increments(Evaluation(gradients), _point(step), _state(step), now)
    for weight, increment in zip(step.weights, increments, strict=True):
        weight.assign_add(increment)
    _assign_state(step, state)


def _update_by_machine(machine, step, options, gradients, now):
    if _adds(machine, step, options):
        _add_by_machine(machine, step, gradients, now)
        return
    iterate, state = _moved(machine, step, options, gradients, now)
    state = machine.settle(iterate, state, now)
    if step.averages:
        iterate = _average(step, options, iterate, now.t)
    _assign_all(step, machine.query(iterate, state, now.following()), state)


def _moved(machine, step, options, gradients, now):
    """The next iterate and state: decay before the machine's step, constraints after it."""
    state, keep = _state(step), _keep(step, options, now)
    iterate = machine.iterate(_point(step), state, now)
    if machine.partial:
        now = now._replace(keep=keep, constraints=options.constraints)
        return machine.step(Evaluation(gradients), iterate, state, now)
    iterate, state = machine.step(Evaluation(gradients), decayed(iterate, keep), state, now)
    return constrained(iterate, options.constraints), state


def _update_by_kernel(kernel, machine, step, options, gradients, now):
    # Nothing is read but what lives from step to step: a tensor that shares a variable's buffer would force
    # the kernel to copy it.
    carried = {name: tf.convert_to_tensor(step.slots[name]) for name in machine.rule.carried}
    carried = machine.carry(carried, now)
    kinds = _kinds(step)
    scalars = machine.scalars(carried, now, kinds)
    given = gradients.arguments()
    averages = step.averages and "average" in getattr(kernel, "fuses", ())
    if averages:
        given |= {"averages": step.averages, "average_rate": _average_rate(options, now.t)}
    kernel(
        weights=step.weights,
        slots=[step.slots[name] for name in machine.rule.slots],
        scalars=scalars,
        following=machine.scalars(carried, now.following(), kinds) if machine.displaced else scalars,
        keep=_keep(step, options, now),
        **given,
    )
    gradients.settle()
    _assign([step.slots[name] for name in carried], carried.values())
    if averages:
        _overwrite(step, options, now.t)
    elif step.averages:
        _assign(step.weights, _average(step, options, _point(step), now.t))


def _kernel(machine, step, options):
    plain = not any(options.constraints) and not (step.averages and machine.displaced)
    if not (options.fused and plain and isinstance(machine, RuleMachine)):
        return None
    return registry.find(machine.rule.name, step.weights)


def _kinds(step):
    """What a rule's scalars must know of the weights."""
    return [tf.TensorSpec(w.shape, compute_dtype(w.dtype)) for w in step.weights]


def _keep(step, options, now):
    """1 − λε for each weight that decays."""
    made: dict = {}
    for decays, factor, weight in zip(options.decays, options.multipliers, step.weights, strict=True):
        key = (factor, compute_dtype(weight.dtype))
        if decays and key not in made:
            made[key] = tf.cast(1.0 - options.weight_decay * now.learning_rate * factor, key[1])
    keys = [(f, compute_dtype(w.dtype)) for f, w in zip(options.multipliers, step.weights, strict=True)]
    return [made[key] if decays else None for key, decays in zip(keys, options.decays, strict=True)]


def _average(step, options, iterate, t):
    """Move the exponential averages; where it is time, the iterate becomes the average."""
    moved, iterate = _averaged(step, options, iterate, t)
    _assign(step.averages, moved)
    return iterate


def _averaged(step, options, iterate, t):
    """The averages with this iterate, and what becomes of it."""
    rate = _average_rate(options, t)
    moved = [a + (p - a) * tf.cast(rate, p.dtype) for a, p in zip(step.averages, iterate, strict=True)]
    if not options.ema_overwrite_frequency:
        return moved, iterate
    kept = lambda: [tf.identity(p) for p in iterate]  # noqa: E731
    return moved, tf.cond(_overwrites(options, t), lambda: moved, kept)


def _average_rate(options, t):
    return tf.where(t > 1, tf.constant(1.0 - options.ema_momentum, tf.float64), 1.0)


def _overwrites(options, t):
    return tf.equal(tf.cast(t, tf.int64) % options.ema_overwrite_frequency, 0)


def _overwrite(step, options, t):
    """Where it is time, the weights become their averages."""
    if options.ema_overwrite_frequency:
        tf.cond(_overwrites(options, t), lambda: _assign(step.weights, step.averages), _nothing)


def _point(step):
    return [tf.cast(tf.convert_to_tensor(w), compute_dtype(w.dtype)) for w in step.weights]


def _state(step):
    return {name: tf.nest.map_structure(tf.convert_to_tensor, value) for name, value in step.slots.items()}


def _assign_all(step, point, state):
    _assign(step.weights, point)
    _assign_state(step, state)


def _assign_state(step, state):
    for name, variables in step.slots.items():
        _assign(tf.nest.flatten(variables), tf.nest.flatten(state[name]))


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(tf.cast(value, variable.dtype))
    return True


def _swap(left, right):
    held = [tf.identity(v) for v in left]
    _assign(left, [tf.identity(v) for v in right])
    _assign(right, held)
