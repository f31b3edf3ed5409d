"""Where pure machines meet Keras and TensorFlow; the only file here that touches their private hooks.

One order for every optimizer on every strategy: all-reduce → accumulate → finite check → clip → decay →
update → constrain → average. (The all-reduce is linear, so taking it before the accumulation changes
nothing but makes the accumulators equal on all replicas, hence safe to checkpoint.) After the all-reduce
the whole rest is one function of local tensors and variables, run once per device.
"""

import contextlib
import functools
import logging
import math
import re
import threading
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from keras.src.utils.tracking import no_automatic_dependency_tracking

from tfopt._check import is_number, require
from tfopt.optimizers import _flat, _state
from tfopt.optimizers import _update as update
from tfopt.optimizers._agreement import portable_config, require_agreement
from tfopt.optimizers._arguments import check_options, check_search_options
from tfopt.optimizers._curvature import TracedHessian
from tfopt.optimizers._shown import Shown
from tfopt.optimizers._update import Options, Step, compute_dtype

log = logging.getLogger("tfopt")


class MachineOptimizer(keras.optimizers.Optimizer):
    """Drives a pure machine from Keras' train step: abstract, with final subclasses only.

    A subclass validates its hyper-parameters, passes them as `hyper`, and builds its machine from them in
    `make_machine`; configuration, state, options, strategies and saving are handled here.
    """

    def __init__(
        self,
        learning_rate,
        hyper,
        *,
        learning_rate_multipliers=None,
        weight_decay_exclude=None,
        skip_nonfinite=False,
        fused=True,
        name=None,
        **keras_options,
    ):
        owner = type(self).__name__
        check_options(owner, learning_rate, learning_rate_multipliers, weight_decay_exclude, keras_options)
        if is_number(learning_rate):
            learning_rate = float(learning_rate)
        with tf.init_scope():  # within a graph being traced the variables would have no value yet
            super().__init__(learning_rate, name=name, **keras_options)
        # What this worker was given: the variable made of it holds what the first one was.
        self._given_rate = learning_rate if is_number(learning_rate) else None
        self._hyper = _Untracked(dict(hyper))
        self._patterns = _Untracked(
            (dict(learning_rate_multipliers or {}), tuple(weight_decay_exclude or ()))
        )
        self._parts = _Untracked({})
        self._pending = _Untracked(None)
        self._losses = _Untracked({})
        self._scaled_outside = False
        self.skip_nonfinite = bool(skip_nonfinite)
        self.fused = bool(fused)
        self.machine = self.make_machine(**hyper)
        if self.machine.flat:
            check_search_options(owner, learning_rate_multipliers, skip_nonfinite, keras_options)

    def make_machine(self, **hyper):
        """The pure machine for these hyper-parameters."""
        raise NotImplementedError

    def __getattr__(self, name):
        hyper = self.__dict__.get("_hyper")
        if hyper is not None and name in hyper.value:
            return hyper.value[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name, value):
        # Clearing this attribute is how Keras' LossScaleOptimizer takes over an optimizer.
        if name == "loss_scale_factor" and "loss_scale_factor" in self.__dict__:
            self.__dict__["_scaled_outside"] = value is None
        super().__setattr__(name, value)

    # -- configuration ------------------------------------------------------------------------------

    @property
    def learning_rate_multipliers(self):
        """Regular expression on variable paths -> factor on ε."""
        return dict(self._patterns.value[0])

    @property
    def weight_decay_exclude(self):
        """Regular expressions on the paths of variables that do not decay."""
        return self._patterns.value[1]

    def learning_rate_argument(self):
        """The learning rate as a constructor takes it: a number, a schedule or a callable."""
        rate = self._learning_rate
        if not isinstance(rate, keras.Variable):
            return rate
        with tf.init_scope():
            return float(rate.numpy())

    def get_config(self):
        """Constructor arguments, complete."""
        multipliers, exclude = self._patterns.value
        own = {"skip_nonfinite": self.skip_nonfinite, "fused": self.fused}
        own |= {
            "learning_rate_multipliers": multipliers or None,
            "weight_decay_exclude": list(exclude) or None,
        }
        return super().get_config() | own | {k: _serialized(v) for k, v in self._hyper.value.items()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The optimizer that `get_config` described."""
        return cls(**{key: _deserialized(value, custom_objects) for key, value in config.items()})

    # -- state --------------------------------------------------------------------------------------

    @no_automatic_dependency_tracking
    def build(self, variables):
        """Create the state for `variables`: slots, accumulators, averages, counters."""
        if self.built:
            return
        variables = list(variables)
        owner = type(self).__name__
        _check_scope(owner, self._distribution_strategy, variables)
        require_agreement(owner, self._distribution_strategy, lambda: self._description(variables))
        self._trainable_variables = variables
        self._trainable_variables_indices = {self._var_key(v): i for i, v in enumerate(variables)}
        parts = self._parts.value
        if self.machine.flat:
            _check_weights(owner, variables)
            self.machine.admit(_size(variables), _flat.vector_dtype([_native(v) for v in variables]))
        self.machine.arrange([_path(v) for v in variables], [tuple(v.shape) for v in variables])
        for slot in self.machine.slots:
            parts[slot.name] = self._new_slot(slot, variables)
        self._add_accumulators(parts, variables)
        if self.use_ema:
            averages = self._per_weight("average", 0.0, variables)
            parts["average"] = self._model_variables_moving_average = averages
        if self._checks_finite:
            parts["skipped"] = self.add_variable((), dtype="int64", name="skipped")
        if self._displaced:
            shape = (len(variables),)
            parts["exposed"] = self.add_variable(shape, dtype="bool", initializer="zeros", name="exposed")
            if self._swaps:
                parts["shown"] = self.add_variable(shape, dtype="int64", initializer="zeros", name="shown")
        self._multipliers = [self._multiplier(v) for v in variables]
        self.built = True
        self._load_pending()

    def _load_pending(self):
        """Load what came before there was a state; where it does not fit, all is as before `build`."""
        if not self._pending.value:
            return
        try:
            _state.load(self, self._pending.value)
        except ValueError:
            self._forget_state()
            raise
        self._pending.value = None

    def _forget_state(self):
        for part in self._parts.value.values():
            for variable in part if isinstance(part, list) else [part]:
                self._untrack_variable(variable)
        self._parts.value.clear()
        self._trainable_variables, self._trainable_variables_indices = [], {}
        self.built = False

    def _description(self, variables):
        """What has to be the same on every worker."""
        shapes = [[v.name.split(":")[0], list(v.shape), tf.as_dtype(v.dtype).name] for v in variables]
        given = {} if self._given_rate is None else {"learning_rate": self._given_rate}
        return {"class": type(self).__name__, "variables": shapes} | portable_config(self) | given

    def _add_accumulators(self, parts, variables):
        if not self.gradient_accumulation_steps:
            return
        if self.machine.flat:
            for slot in _flat.accumulators(self.machine):
                parts[slot.name] = self._new_slot(slot, variables)
            return
        accumulators = self._per_weight("gradient_accumulator", 0.0, variables)
        parts["gradient_accumulator"] = self._accumulated_gradients = accumulators

    def _new_slot(self, slot, variables):
        if slot.scalar:
            initializer = keras.initializers.Constant(slot.initial)
            return self.add_variable((), dtype="float64", initializer=initializer, name=slot.name)
        if slot.shape is not None:
            return self._new_vector(slot, variables)
        return self._per_weight(slot.name, slot.initial, variables)

    def _new_vector(self, slot, variables):
        natives = [_native(v) for v in variables]
        dtype = tf.float64 if slot.double else _flat.vector_dtype(natives)
        with self._distribution_strategy.extended.colocate_vars_with(natives[0]):
            return self.add_variable(
                slot.shape(_size(variables)), dtype=dtype.name, initializer="zeros", name=slot.name
            )

    def _per_weight(self, name, initial, variables):
        initializer = keras.initializers.Constant(initial) if initial else "zeros"
        with tf.variable_creator_scope(functools.partial(_create_named, name)):
            return [self._like(v, initializer, f"{_path(v).replace('/', '_')}_{name}") for v in variables]

    def _like(self, variable, initializer, name):
        native = _native(variable)
        dtype = compute_dtype(native.dtype).name
        with self._distribution_strategy.extended.colocate_vars_with(native):
            return self.add_variable(variable.shape, dtype=dtype, initializer=initializer, name=name)

    def _multiplier(self, variable):
        for pattern, factor in self._patterns.value[0].items():
            if re.search(pattern, _path(variable)):
                return float(factor)
        return 1.0

    def _decays(self, variable):
        excluded = any(re.search(pattern, _path(variable)) for pattern in self._patterns.value[1])
        return bool(self.weight_decay) and not excluded and self._use_weight_decay(variable)

    def save_own_variables(self, store):
        """Save the state, keyed by slot name and variable path."""
        if not self._pending.value:
            _state.save(self, store)
            return
        for key, value in self._pending.value.items():
            store[key] = value

    def load_own_variables(self, store):
        """Load the state; what does not fit is named in a ValueError and nothing is changed.

        A file of weights alone, which Keras takes for one with an empty state, changes nothing either.
        """
        # Keras' stores offer keys(), not iteration.
        saved = {key: store[key] for key in store.keys()}  # noqa: SIM118
        if not saved:
            return
        if self.built:
            _state.load(self, saved)
        else:
            self._pending.value = {key: value[()] for key, value in saved.items()}

    @property
    def paths(self):
        """The paths of the trained variables; repeated ones are numbered."""
        return _unique([_path(v) for v in self._trainable_variables])

    def named_state(self):
        """Pairs ((slot name, variable path or ""), state variable) in order of creation."""
        shared = [(("iteration", ""), self._iterations)]
        if isinstance(self._learning_rate, keras.Variable):
            shared.append((("learning_rate", ""), self._learning_rate))
        paths = self.paths
        for name, part in self._parts.value.items():
            if isinstance(part, list):
                shared.extend(((name, path), v) for path, v in zip(paths, part, strict=True))
            else:
                shared.append(((name, ""), part))
        return shared

    def initial_value(self, name):
        """What the state of this name starts at."""
        return next((s.initial for s in self.machine.slots if s.name == name and s.shape is None), 0.0)

    def layout(self):
        """Pairs (path, shape) of the variables in the order in which a vector of all weights holds them."""
        if not self.machine.flat:
            return []
        return [(p, tuple(v.shape)) for p, v in zip(self.paths, self._trainable_variables, strict=True)]

    @property
    def train_steps(self):
        """Number of train steps so far; `iterations` counts the updates of an accumulation."""
        return int(self._iterations.numpy())

    @property
    def trained_variables(self):
        """The variables this optimizer was built for."""
        return list(self._trainable_variables)

    @property
    def skipped_steps(self):
        """Number of updates left out because a gradient was not finite."""
        return int(self.state_value("skipped"))

    def state_value(self, name):
        """The value of a scalar of the state; 0 before there is state."""
        part = self._parts.value.get(name)
        return 0 if part is None else part.numpy()

    @property
    def _checks_finite(self):
        # Under a wrapping LossScaleOptimizer one replica's overflow is visible only after the all-reduce.
        several = self._distribution_strategy.num_replicas_in_sync > 1
        return self.skip_nonfinite or (self._scaled_outside and several)

    @property
    def _displaced(self):
        return self.machine.displaced or self.use_ema

    @property
    def _swaps(self):
        """Whether the training point waits in the state while other weights are shown."""
        return self.machine.swaps or self.use_ema

    # -- one train step -----------------------------------------------------------------------------

    def scale_loss(self, loss):
        """Keras' trainer calls it with the loss of every train step; methods that search a line need it."""
        if self.machine.flat:
            # By thread: MirroredStrategy runs each replica in one of its own.
            self._losses.value[threading.get_ident()] = loss
        return super().scale_loss(loss)

    @tf.autograph.experimental.do_not_convert
    def apply(self, grads, trainable_variables=None):
        """One update of `trainable_variables` from `grads`; the model's variables receive the next point."""
        grads = list(grads)
        if not grads:
            return
        variables = self._known_variables(grads, trainable_variables)
        with tf.name_scope(self.name), _once_there(grads):
            grads, variables = self._present(grads, variables)
            grads, variables = self._overwrite_variables_directly_with_gradients(grads, variables)
            if grads:
                self._update(grads, variables)
            self._iterations.assign_add(1)

    def _known_variables(self, grads, variables):
        if variables is None:
            variables = self._trainable_variables
        variables = list(variables)
        require(len(grads) == len(variables), "apply", "grads", len(grads), f"{len(variables)} gradients")
        if not self.built:
            with tf.init_scope():
                self.build(variables)
        self._check_variables_are_known(variables)
        _check_shapes(type(self).__name__, grads, variables)
        return variables

    def _present(self, grads, variables):
        """Gradients and variables without those that have none; zeros for them where all are one vector."""
        present = self._filter_empty_gradients(grads, variables)
        if not self.machine.flat:
            return present
        same = [id(v) for v in variables] == [id(v) for v in self._trainable_variables]
        require(same, type(self).__name__, "variables", len(variables), "the variables it was built with")
        return [_zeros(v) if g is None else g for g, v in zip(grads, variables, strict=True)], variables

    def _latest_loss(self):
        """The loss that belongs to the gradients at hand, for a method that needs it."""
        if not self.machine.flat:
            return None
        loss = self._losses.value.pop(threading.get_ident(), None)
        if loss is None:
            raise ValueError(
                f"{type(self).__name__}: expected the loss before its gradients, through scale_loss(loss), "
                "as Keras' fit hands it over; got none. Keras' LossScaleOptimizer (mixed_float16) keeps it "
                "to itself: use bfloat16 instead."
            )
        loss = tf.convert_to_tensor(loss)
        if not (loss.dtype.is_floating and loss.shape.rank in (0, None)):
            raise ValueError(
                f"{type(self).__name__}: expected a real scalar as the loss, through scale_loss(loss), got "
                f"{loss.dtype.name} of shape {loss.shape}."
            )
        return loss

    def _update(self, grads, variables):
        loss = self._latest_loss()
        others = self._others(variables)
        rest = self._collect([], others) if others else None
        step = self._collect(grads, variables)._replace(loss=loss, others=rest)
        if self.machine.flat:
            step = _flat.unscaled(step, self.loss_scale_factor)
        if self.machine.curvature:
            step = self._with_curvature(step)
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            step = _summed(replica, step)
        run = _flat.run if self.machine.flat else update.run
        tf.__internal__.distribute.interim.maybe_merge_call(
            lambda strategy, step: self._each_device(strategy, run, step, self._options(variables, others)),
            self._distribution_strategy,
            step,
        )

    def _others(self, variables):
        """The variables that a step has no gradients for, where something is kept of their iterates."""
        if not self._displaced or len(variables) == len(self._trainable_variables):
            return []
        given = {self._get_variable_index(v) for v in variables}
        return [v for row, v in enumerate(self._trainable_variables) if row not in given]

    def _with_curvature(self, step):
        """The step with the Hessian; spread over batches or replicas, with what is asked of it."""
        dtype = _flat.vector_dtype(step.weights)
        hessian = TracedHessian(type(self).__name__, step.gradients, step.weights, dtype)
        spread = self.gradient_accumulation_steps or self._distribution_strategy.num_replicas_in_sync > 1
        if not spread:
            return step._replace(curvature=hessian)
        return step._replace(answer=_flat.answer(self.machine, step, hessian))

    def _collect(self, grads, variables):
        """The step's tensors and native variables, in a form that `extended.update` can unwrap."""
        rows = [self._get_variable_index(v) for v in variables]
        parts = self._parts.value

        def pick(name):
            part = parts.get(name, [])
            return [_native(part[i]) for i in rows if part] if isinstance(part, list) else [_native(part)]

        return Step(
            gradients=list(grads),
            weights=[_native(v) for v in variables],
            slots={s.name: _natives(parts[s.name], rows) for s in self.machine.slots},
            accumulators=pick("gradient_accumulator"),
            averages=pick("average"),
            skipped=_native(parts.get("skipped")),
            exposed=_native(parts.get("exposed")),
            micro_step=tf.convert_to_tensor(_native(self._iterations)),
            learning_rate=tf.cast(tf.convert_to_tensor(self.learning_rate), tf.float64),
            loss_accumulator=_native(parts.get("loss_accumulator")),
            accumulated=_native(parts.get("accumulated")),
            answer_accumulator=_native(parts.get("answer_accumulator")),
        )

    def _options(self, variables, others=()):
        rows = [self._get_variable_index(v) for v in variables]
        return Options(
            rows=rows,
            multipliers=[self._multipliers[row] for row in rows],
            decays=[self._decays(v) for v in variables],
            constraints=[getattr(v, "constraint", None) for v in variables],
            weight_decay=self.weight_decay,
            clipnorm=self.clipnorm,
            clipvalue=self.clipvalue,
            global_clipnorm=self.global_clipnorm,
            ema_momentum=self.ema_momentum,
            ema_overwrite_frequency=self.ema_overwrite_frequency,
            loss_scale_factor=self.loss_scale_factor,
            accumulation=self.gradient_accumulation_steps,
            fused=self.fused,
            others=self._options(others) if others else None,
        )

    def _each_device(self, strategy, function, step, options):
        """Call ``function(machine, step, options)`` once per device with that device's share of `step`."""
        strategy.extended.update(
            step.weights[0],
            lambda _, local: function(self.machine, local, options),
            args=(step,),
            group=False,
        )

    def _get_current_learning_rate(self):
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self._updates())
        return super()._get_current_learning_rate()

    def _updates(self):
        """Updates so far: schedules count these, not train steps of an accumulation, nor what was skipped."""
        updates = tf.convert_to_tensor(_native(self._iterations)) // (self.gradient_accumulation_steps or 1)
        skipped = self._parts.value.get("skipped")
        return updates if skipped is None else updates - tf.convert_to_tensor(_native(skipped))

    # -- which weights the model holds ----------------------------------------------------------------

    def to_evaluation_weights(self):
        """Let the model hold the weights this optimizer stands for: the iterate or the average."""
        rows = self._rows_held(shown=False)
        self._on_each_device(self._moves.expose, rows)
        if rows and self._swaps:
            Shown(self._parts.value["shown"]).note(self._natives_of(rows))

    def to_training_weights(self, variables=None):
        """Undo `to_evaluation_weights`: the model holds the point where the next gradient is wanted.

        Weights that were given other values in the meantime are where training goes on from.

        Args:
            variables: The variables that are to be trained, or None for all; others stay as they are.
        """
        rows = self._rows_held(shown=True)
        if variables is not None:
            wanted = {self._var_key(v) for v in variables}
            rows = [row for row in rows if self._var_key(self._trainable_variables[row]) in wanted]
        changed = self._changed(rows)
        if self.machine.flat:
            self._on_each_device(self._moves.adopt if changed else self._moves.hide, rows)
            return
        self._on_each_device(self._moves.adopt, sorted(changed))
        self._on_each_device(self._moves.hide, [row for row in rows if row not in changed])

    def _changed(self, rows):
        """Which of the weights shown, at these places, were given other values since."""
        if not (rows and self._swaps):
            return set()
        return Shown(self._parts.value["shown"]).changed(self._natives_of(rows))

    def restart(self):
        """Forget the evaluations so far: the next one, at the iterate, is taken for a run's first.

        For methods with a line search, where the loss has become another function; with others nothing
        changes.
        """
        if self.built and self.machine.flat:
            self.to_training_weights()
            self._on_each_device(_flat.restart, range(len(self._trainable_variables)))

    @property
    def _moves(self):
        return _flat if self.machine.flat else update

    def _rows_held(self, shown):
        """Places of the variables that stand in for the training point, or of those that do not."""
        exposed = self._parts.value.get("exposed")
        return [] if exposed is None else np.flatnonzero(exposed.numpy() == shown).tolist()

    def _natives_of(self, rows):
        return {row: _native(self._trainable_variables[row]) for row in rows}

    def _on_each_device(self, function, rows):
        variables = [self._trainable_variables[row] for row in rows]
        if variables:
            step = self._collect([], variables)
            self._each_device(self._distribution_strategy, function, step, self._options(variables))

    def finalize_variable_values(self, var_list):
        """Leave the weights a user should see in the model; Keras calls this at the end of `fit`."""
        if self.machine.flat:
            # Keras only warns, and calls nothing before.
            _check_weights(type(self).__name__, var_list)
        message = self.machine.report(self.state_value)
        if message:
            log.info(message)
        self.to_evaluation_weights()
        if self.use_ema and self.built:
            for average, variable in zip(
                self._parts.value["average"], self._trainable_variables, strict=True
            ):
                average.assign(variable)
            self._parts.value["exposed"].assign(np.zeros(len(self._trainable_variables), bool))


class _Untracked:
    """Holds a value that Keras' attribute tracking must neither wrap nor save."""

    def __init__(self, value):
        self.value = value


def _create_named(common, create, /, **arguments):
    """Create a native variable under a common name, while Keras' variable around it has a name of its own.

    TensorFlow sets up an operation for each new name, which costs more than all the rest of a variable.
    """
    return create(**{**arguments, "name": common})


def _native(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable


def _path(variable):
    return getattr(variable, "path", None) or variable.name.split(":")[0]


def _unique(paths):
    """`paths` with repeated ones numbered: a layer may give two weights one name."""
    seen: dict = {}
    numbered = []
    for path in paths:
        seen[path] = seen.get(path, 0) + 1
        numbered.append(path if seen[path] == 1 else f"{path}#{seen[path]}")
    return numbered


def _natives(part, rows):
    """The variables of a slot for the weights in `rows`, or its only one."""
    return [_native(part[i]) for i in rows] if isinstance(part, list) else _native(part)


def _summed(replica, step):
    """The step with its gradients, and with loss and answer where there are any, summed over the replicas."""
    names = [name for name in ("loss", "answer") if getattr(step, name) is not None]
    local = [*step.gradients, *(getattr(step, name) for name in names)]
    total = replica.all_reduce(tf.distribute.ReduceOp.SUM, local)
    count = len(step.gradients)
    return step._replace(gradients=total[:count], **dict(zip(names, total[count:], strict=True)))


def _size(variables):
    return sum(math.prod(v.shape) for v in variables)


def _once_there(gradients):
    """In a graph, what is done within waits for the gradients.

    Where data of unknown length end, Keras' train step fails for want of a batch, and what needs no gradient
    would be done all the same.
    """
    if tf.executing_eagerly():
        return contextlib.nullcontext()
    given = [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients if g is not None]
    return tf.control_dependencies([tf.group(*given)])


def _zeros(variable):
    return tf.zeros(variable.shape, _native(variable).dtype)


def _check_scope(owner, strategy, variables):
    """Refuse variables of another strategy than the optimizer's, which no all-reduce would keep equal."""
    for v in variables:
        native = _native(v)
        if isinstance(native, tf.distribute.DistributedValues):
            fits = strategy.extended.variable_created_in_scope(native)
        else:
            fits = strategy.num_replicas_in_sync == 1
        if not fits:
            raise ValueError(
                f"{owner}: expected variables of the scope of the strategy that the optimizer was "
                f"created in, {type(strategy).__name__}; {_path(v)} was not. Create the model and the "
                "optimizer within `with strategy.scope():`."
            )


def _check_weights(owner, variables):
    if not _size(variables):
        raise ValueError(f"{owner}: expected a model with trainable weights, got none.")
    for v in variables:
        dtype = tf.as_dtype(v.dtype)
        if not dtype.is_floating:
            raise ValueError(f"{owner}: expected variables of real numbers, got {dtype.name} for {_path(v)}.")
        if getattr(v, "constraint", None) is not None:
            raise ValueError(
                f"{owner}: expected variables without constraints, which would move the points of a line "
                f"search, got one on {_path(v)}."
            )


def _check_shapes(owner, gradients, variables):
    for gradient, variable in zip(gradients, variables, strict=True):
        shape = tf.TensorShape(getattr(gradient, "shape", None))
        if not shape.is_compatible_with(variable.shape):
            raise ValueError(
                f"{owner}: expected a gradient of shape {tuple(variable.shape)} for {_path(variable)}, got "
                f"{shape}."
            )


def _serialized(value):
    return (
        value
        if isinstance(value, (int, float, str, type(None)))
        else keras.saving.serialize_keras_object(value)
    )


def _deserialized(value, custom_objects):
    if isinstance(value, Mapping) and "class_name" in value:
        return keras.saving.deserialize_keras_object(dict(value), custom_objects=custom_objects)
    return value
