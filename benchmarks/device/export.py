"""Writes Adam's rule of tfopt, for each set of variables, as StableHLO that JAX runs: ``exported/*.xz``.

``python benchmarks/device/export.py`` needs tfopt with TensorFlow, and JAX, in one environment.
"""

import dataclasses
import functools
import importlib
import lzma
import pathlib
import sys

import jax
import tensorflow as tf
from jax import export
from jax._src.lib import _jax

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sets = importlib.import_module("benchmarks.device._sets")
tfopt = importlib.import_module("tfopt")

SLOTS = 2
# The versions of StableHLO and of JAX's format, old enough for every JAX that is in use.
STABLEHLO_VERSION = "1.8.0"


def adam(rule, count, *tensors):
    """Adam's rule on flat lists: gradients, weights, two slots, and the vector of the rule's scalars."""
    *columns, scalars = (*(tensors[k * count : (k + 1) * count] for k in range(2 + SLOTS)), tensors[-1])
    values = dict(zip(sets.ADAM_SCALARS, tf.unstack(scalars), strict=True))
    given = type("Scalars", (), values)
    weights, slots = [], []
    for g, p, *state in zip(*columns, strict=True):
        increment, new = rule.update(g, p, tuple(state), given)
        weights.append(p + increment)
        slots.append(new)
    return [*weights, *(slot[k] for k in range(SLOTS) for slot in slots)]


def stablehlo(shapes):
    """The module that TensorFlow makes of `adam` for variables of these shapes."""
    specs = [tf.TensorSpec(shape) for _ in range(2 + SLOTS) for shape in shapes]
    specs.append(tf.TensorSpec((len(sets.ADAM_SCALARS),)))
    traced = tf.function(
        functools.partial(adam, tfopt.Adam().machine.rule, len(shapes)), jit_compile=True, autograph=False
    )
    hlo = traced.experimental_get_compiler_ir(*specs)(stage="hlo_serialized", platform_name="CPU")
    return _jax.mlir.serialize_portable_artifact(_jax.mlir.hlo_to_stablehlo(hlo), STABLEHLO_VERSION)


def signature(shapes):
    """A function of JAX with the same arguments and results, exported; its body is to be replaced."""
    columns = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    scalars = jax.ShapeDtypeStruct((len(sets.ADAM_SCALARS),), "float32")

    def same(*tensors):
        # Every argument is used, so that JAX keeps it.
        used = tensors[-1][0] + sum(g.ravel()[0] for g in tensors[: len(shapes)])
        return [x + used for x in tensors[len(shapes) : -1]]

    unchecked = [export.DisabledSafetyCheck.platform()]
    return export.export(jax.jit(same), platforms=["cuda"], disabled_checks=unchecked)(*columns * 4, scalars)


def main():
    """Write one file per set of variables."""
    sets.EXPORTED.mkdir(exist_ok=True)
    for name, shapes in {**sets.SETS, "smoke": sets.SMOKE}.items():
        made = dataclasses.replace(signature(shapes), mlir_module_serialized=stablehlo(shapes))
        path = sets.EXPORTED / f"{name}.xz"
        path.write_bytes(lzma.compress(bytes(made.serialize()), preset=9))
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
