"""Where pure machines meet Keras and TensorFlow; the only file here that touches their private hooks.

One order for every optimizer on every strategy: all-reduce → accumulate → finite check → clip → decay →
update → constrain → average. (The all-reduce is linear, so taking it before the accumulation changes
nothing but makes the accumulators equal on all replicas, hence safe to checkpoint.) After the all-reduce
the whole rest is one function of local tensors and variables, run once per device.
"""

import functools
import logging
import re
from collections.abc import Mapping

import keras
import tensorflow as tf
from keras.src.utils.tracking import no_automatic_dependency_tracking

from tfopt._check import is_number, require, require_not_negative, require_positive
from tfopt.optimizers import _state
from tfopt.optimizers import _update as update
from tfopt.optimizers._update import Options, Step, compute_dtype

KERAS_OPTIONS = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)
OWN_OPTIONS = ("learning_rate_multipliers", "weight_decay_exclude", "skip_nonfinite", "fused")
OPTIONS = KERAS_OPTIONS + OWN_OPTIONS


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
        _check_options(owner, learning_rate, learning_rate_multipliers, weight_decay_exclude, keras_options)
        if is_number(learning_rate):
            learning_rate = float(learning_rate)
        super().__init__(learning_rate, name=name, **keras_options)
        self._hyper = _Untracked(dict(hyper))
        self._patterns = _Untracked(
            (dict(learning_rate_multipliers or {}), tuple(weight_decay_exclude or ()))
        )
        self._parts = _Untracked({})
        self._scaled_outside = False
        self.skip_nonfinite = bool(skip_nonfinite)
        self.fused = bool(fused)
        self.machine = self.make_machine(**hyper)

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
        return float(rate.numpy()) if isinstance(rate, keras.Variable) else rate

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
        self._trainable_variables = variables
        self._trainable_variables_indices = {self._var_key(v): i for i, v in enumerate(variables)}
        parts = self._parts.value
        for slot in self.machine.slots:
            parts[slot.name] = self._new_slot(slot, variables)
        if self.gradient_accumulation_steps:
            accumulators = self._per_weight("gradient_accumulator", 0.0, variables)
            parts["gradient_accumulator"] = self._accumulated_gradients = accumulators
        if self.use_ema:
            averages = self._per_weight("average", 0.0, variables)
            parts["average"] = self._model_variables_moving_average = averages
        if self._checks_finite:
            parts["skipped"] = self.add_variable((), dtype="int64", name="skipped")
        if self._displaced:
            parts["exposed"] = self.add_variable((), dtype="bool", initializer="zeros", name="exposed")
        self._multipliers = [self._multiplier(v) for v in variables]
        self.built = True
        if parts.get("pending"):
            _state.load(self, parts.pop("pending"))

    def _new_slot(self, slot, variables):
        if slot.scalar:
            initializer = keras.initializers.Constant(slot.initial)
            return self.add_variable((), dtype="float64", initializer=initializer, name=slot.name)
        return self._per_weight(slot.name, slot.initial, variables)

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
        _state.save(self, store)

    def load_own_variables(self, store):
        """Load the state; what does not fit is named in a ValueError and nothing is changed."""
        # Keras' stores offer keys(), not iteration.
        saved = {key: store[key] for key in store.keys()}  # noqa: SIM118
        if self.built:
            _state.load(self, saved)
        else:
            self._parts.value["pending"] = {key: value[()] for key, value in saved.items()}

    def named_state(self):
        """Pairs ((slot name, variable path or ""), state variable) in order of creation."""
        shared = [(("iteration", ""), self._iterations)]
        if isinstance(self._learning_rate, keras.Variable):
            shared.append((("learning_rate", ""), self._learning_rate))
        paths = _unique([_path(v) for v in self._trainable_variables])
        for name, part in self._parts.value.items():
            if isinstance(part, list):
                shared.extend(((name, path), v) for path, v in zip(paths, part, strict=True))
            else:
                shared.append(((name, ""), part))
        return shared

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

    # -- one train step -----------------------------------------------------------------------------

    def apply(self, grads, trainable_variables=None):
        """One update of `trainable_variables` from `grads`; the model's variables receive the next point."""
        grads = list(grads)
        if not grads:
            return
        variables = self._known_variables(grads, trainable_variables)
        with tf.name_scope(self.name):
            grads, variables = self._filter_empty_gradients(grads, variables)
            grads, variables = self._overwrite_variables_directly_with_gradients(grads, variables)
            if grads:
                self._reduce_and_update(grads, variables)
        self._iterations.assign_add(1)

    def _known_variables(self, grads, variables):
        if variables is None:
            variables = self._trainable_variables
            require(len(grads) == len(variables), "apply", "grads", len(grads), f"{len(variables)} gradients")
        variables = list(variables)
        if not self.built:
            with tf.init_scope():
                self.build(variables)
        self._check_variables_are_known(variables)
        return variables

    def _reduce_and_update(self, grads, variables):
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        tf.__internal__.distribute.interim.maybe_merge_call(
            lambda strategy, step: self._each_device(strategy, update.run, step, self._options(variables)),
            self._distribution_strategy,
            self._collect(grads, variables),
        )

    def _collect(self, grads, variables):
        """The step's tensors and native variables, in a form that `extended.update` can unwrap."""
        rows = [self._get_variable_index(v) for v in variables]
        parts = self._parts.value

        def pick(name):
            return [_native(parts[name][i]) for i in rows] if name in parts else []

        return Step(
            gradients=list(grads),
            weights=[_native(v) for v in variables],
            slots={s.name: _native(parts[s.name]) if s.scalar else pick(s.name) for s in self.machine.slots},
            accumulators=pick("gradient_accumulator"),
            averages=pick("average"),
            skipped=_native(parts.get("skipped")),
            exposed=_native(parts.get("exposed")),
            micro_step=tf.convert_to_tensor(_native(self._iterations)),
            learning_rate=tf.cast(tf.convert_to_tensor(self.learning_rate), tf.float64),
        )

    def _options(self, variables):
        return Options(
            multipliers=[self._multipliers[self._get_variable_index(v)] for v in variables],
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
        self._switch(update.expose, shown=False)

    def to_training_weights(self):
        """Undo `to_evaluation_weights`: the model holds the point where the next gradient is wanted."""
        self._switch(update.hide, shown=True)

    def _switch(self, function, shown):
        exposed = self._parts.value.get("exposed")
        if exposed is None or bool(exposed.numpy()) is not shown:
            return
        step = self._collect([None] * len(self._trainable_variables), self._trainable_variables)
        self._each_device(
            self._distribution_strategy, function, step, self._options(self._trainable_variables)
        )

    def finalize_variable_values(self, var_list):
        """Leave the weights a user should see in the model; Keras calls this at the end of `fit`."""
        message = self.machine.report(self.state_value)
        if message:
            log.info(message)
        self.to_evaluation_weights()
        if self.use_ema and self.built:
            for average, variable in zip(
                self._parts.value["average"], self._trainable_variables, strict=True
            ):
                average.assign(variable)
            self._parts.value["exposed"].assign(False)


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


def _check_options(owner, learning_rate, multipliers, exclude, keras_options):
    for option, value in keras_options.items():
        require(option in KERAS_OPTIONS, owner, option, value, f"one of the options {', '.join(OPTIONS)}")
    for option in ("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"):
        if keras_options.get(option) is not None:
            require_positive(owner, **{option: keras_options[option]})
    if keras_options.get("weight_decay") is not None:
        require_not_negative(owner, weight_decay=keras_options["weight_decay"])
    if not callable(learning_rate):
        good = is_number(learning_rate) and learning_rate > 0
        expected = "a finite number with learning_rate > 0, a schedule or a callable"
        require(good, owner, "learning_rate", learning_rate, expected)
    for pattern, factor in (multipliers or {}).items():
        good = is_number(factor) and factor >= 0
        require(
            good, owner, "learning_rate_multipliers", {pattern: factor}, "factors that are finite and >= 0"
        )
    for pattern in (*(multipliers or ()), *(exclude or ())):
        _check_pattern(owner, pattern)


def _check_pattern(owner, pattern):
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"{owner}: expected regular expressions on variable paths, got {pattern!r} ({error})."
        ) from None
