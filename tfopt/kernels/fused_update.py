"""The fused update as an optimizer calls it: lists of variables in, one op per type of weights."""

import dataclasses
import math
import types
from typing import Any

import tensorflow as tf

from tfopt.kernels import _exposure, global_norm
from tfopt.kernels._bundle import bundle_of
from tfopt.kernels._glue import compiled_by_xla
from tfopt.kernels._gradients import as_inputs, cast, dtype_of, is_rows, kind_of, prepared

DTYPES = (tf.float32, tf.float64, tf.float16, tf.bfloat16)


@dataclasses.dataclass(frozen=True)
class FusedUpdate:
    """One rule, computed for all variables of a step in one pass over memory.

    Attributes:
        rule: Name of the rule.
        slots: Names of its slots, in order.
        scalars: Names of its scalars, in the order in which the op takes them.
        looks_ahead: Whether the variables hold a point ahead of the iterate.
        ops: TensorFlow's wrappers of the library's ops.
        instructions: The instruction set it runs on.
        lowers: Whether its lowering to XLA is loaded.
        gpu: Whether its kernels for NVIDIA GPUs are loaded.
    """

    rule: str
    slots: tuple[str, ...]
    scalars: tuple[str, ...]
    looks_ahead: bool
    ops: Any = dataclasses.field(repr=False)
    instructions: str = ""
    lowers: bool = False
    gpu: bool = False

    fuses = frozenset({"gradients", "average", "exposure"})

    @classmethod
    def parse(cls, line, ops, instructions, lowers, gpu):
        """The kernel that a line of the library's own description tells of."""
        rule, slots, scalars, looks_ahead = line.split(";")
        how = instructions, lowers, gpu
        return cls(rule, _names(slots), _names(scalars), looks_ahead == "1", ops, *how)

    def supports(self, weights):
        """Whether the variables have types it knows and share a device it runs on or XLA compiles for."""
        places = {w.device for w in weights}
        if len(places) != 1 or any(w.dtype not in DTYPES for w in weights):
            return False
        if compiled_by_xla():
            return self.lowers
        return kind_of(places.pop()) in ("CPU", None, *(("GPU",) if self.gpu else ()))

    def __call__(self, **arguments):
        """Update `weights`, `slots` and `averages` in place; see `tfopt.kernels.registry.Kernel`."""
        self.run(**arguments)

    def prepare(self, gradients, weights):
        """`gradients` as the other methods take them."""
        return prepared(gradients, weights)

    def norms(self, gradients, accumulators):
        """The norm of all gradients, and a vector with the norm of each, what was accumulated included."""
        return global_norm.norms(self.ops, gradients, accumulators)

    def accumulate(self, accumulators, gradients):
        """Add `gradients` to `accumulators`."""
        dense = []
        for accumulator, gradient in zip(accumulators, gradients, strict=True):
            if is_rows(gradient):
                accumulator.scatter_add(cast(gradient, accumulator.dtype))
            else:
                dense.append((gradient, accumulator))
        if dense:
            # A descent of rate −1 adds the gradient, exactly.
            descent = dataclasses.replace(self, rule="sgd", scalars=("rate",), looks_ahead=False)
            up = [types.SimpleNamespace(rate=-1.0)] * len(dense)
            kept = [None] * len(dense)
            gradients, weights = zip(*dense, strict=True)
            descent.run(gradients, weights, slots=[], scalars=up, following=up, keep=kept)

    def swap(self, weights, averages):
        """Exchange the values of `weights` and `averages`; False, and nothing is done, where it cannot."""
        return _exposure.swap(self.ops, weights, averages)

    def displace(self, weights, slots, scalars):
        """Move `weights` from the iterate to the point ahead; False, and nothing is done, where it cannot."""

        def scalars_of(rows):
            chosen, groups = _grouped([(scalars[i],) for i in rows])
            return self._matrix([s for (s,) in chosen]), groups

        return _exposure.displace(self.ops, self.rule, weights, slots, scalars_of)

    def run(
        self,
        gradients,
        weights,
        slots,
        scalars,
        following,
        keep,
        accumulators=(),
        factors=1.0,
        bound=math.inf,
        averages=(),
        average_rate=1.0,
    ):
        """What a call does."""
        kinds: dict = {}
        for i, (g, w) in enumerate(zip(gradients, weights, strict=True)):
            kinds.setdefault((w.dtype, dtype_of(g)), []).append(i)
        factors, bound, rate = (_double(value) for value in (factors, bound, average_rate))
        for (dtype, _), rows in kinds.items():
            chosen, groups = _grouped([(scalars[i], following[i], keep[i]) for i in rows])
            self._call(
                _chosen(weights, rows),
                slots=[variable for slot in slots for variable in _chosen(slot, rows)],
                averages=_chosen(averages, rows) if averages else [],
                accumulators=_chosen(accumulators, rows) if accumulators else [],
                **as_inputs([gradients[i] for i in rows]),
                scalars=self._matrix([s for s, _, _ in chosen]),
                following=self._matrix([f for _, f, _ in chosen] if self.looks_ahead else []),
                keep=tf.stack([_double(1.0 if k is None else k) for _, _, k in chosen]),
                factors=factors if factors.shape.rank == 0 or len(kinds) == 1 else tf.gather(factors, rows),
                bound=bound,
                average_rate=rate,
                rule=self.rule,
                groups=groups,
                T=dtype,
            )

    def _call(self, weights, slots, averages, accumulators, **step):
        bundle = bundle_of(self.ops.tfopt_bundle, [*weights, *slots, *averages, *accumulators])
        if bundle is None:
            lists = {"slots": slots, "averages": averages, "accumulators": accumulators}
            self.ops.tfopt_fused_update(
                weights=_handles(weights), **{name: _handles(v) for name, v in lists.items()}, **step
            )
        else:
            sizes = {"S": len(slots), "A": len(averages), "C": len(accumulators)}
            self.ops.tfopt_fused_update_bundled(bundle=bundle, **sizes, **step)

    def _matrix(self, namespaces):
        if not namespaces:
            return tf.zeros((0, 0), tf.float64)
        return _double([[getattr(s, name) for name in self.scalars] for s in namespaces])


def _names(text):
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _grouped(keys):
    """The distinct ones among `keys`, by identity of their members, and for each key its place among them."""
    places: dict = {}
    groups = [places.setdefault(tuple(map(id, key)), (len(places), key))[0] for key in keys]
    return [key for _, key in places.values()], groups


def _chosen(variables, rows):
    return [variables[i] for i in rows]


def _handles(variables):
    return [variable.handle for variable in variables]


def _double(value):
    if isinstance(value, float):
        return tf.constant(value, tf.float64)
    return tf.cast(value, tf.float64)
