"""What the kernels must ask TensorFlow's private parts."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.eager import context
from tensorflow.python.framework import auto_control_deps
from tensorflow.python.ops import control_flow_util


def compiled_by_xla():
    """Whether the graph being traced, or one around it, is for XLA: ``jit_compile=True``, or a TPU's."""
    graph = tf.compat.v1.get_default_graph()
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(graph)


def devices_are_made():
    """Whether TensorFlow has made its devices in this process, and with them the allocator of each."""
    return context.context()._initialized


def copied_behind_one_another(vectors):
    """Vectors as one, part by part; to be called where XLA compiles.

    Of a concatenation on CPU it makes a loop that asks for each element which part it is of, and computes it
    on the spot.
    """
    sizes = [vector.shape.num_elements() for vector in vectors]
    whole = tf.zeros([sum(sizes)], vectors[0].dtype)
    for vector, end in zip(vectors, itertools.accumulate(sizes), strict=True):
        start = [end - vector.shape.num_elements()]
        whole = gen_xla_ops.xla_dynamic_update_slice(input=whole, update=vector, indices=start)
    return whole


def announce_bundle(bundle, handles):
    """Say which variables `bundle`, an eager handle, stands for: its users are ordered with theirs."""
    bundle._tfopt_handles = handles


@auto_control_deps.register_acd_resource_resolver
def _tfopt_bundle_resolver(op, reads, writes):
    """Whoever writes to a bundle writes to all its variables that the graph captures, alone or in bundles.

    TensorFlow runs operations of a function in the order in which they were written where they touch the same
    resource. It asks here which resources an operation touches beside its inputs.
    """
    bundles = _captures(op.graph).bundles
    if not bundles:
        return False
    before = len(writes)
    for tensor in list(writes):
        writes.update(bundles.get(id(tensor), ()))
    return len(writes) > before


class _Captures(NamedTuple):
    """What a graph captures.

    Attributes:
        tuples: The graph's own list, which it makes anew when it captures more.
        origins: By identity of a captured tensor in the graph: the tensor outside of all graphs.
        bundles: By identity of a captured bundle in the graph: what else there stands for its variables.
    """

    tuples: Any
    origins: Mapping[int, Any]
    bundles: Mapping[int, Sequence[Any]]


def _captures(graph):
    tuples = getattr(graph, "captures", ())
    known = getattr(graph, "_tfopt_captures", None)
    if known is None or known.tuples is not tuples:
        # Kept by the graph, because the tensors keep it.
        known = graph._tfopt_captures = _Captures(tuples, *_examined(tuples))
    return known


def _examined(tuples):
    origins = {id(inside): _origin(external) for external, inside in tuples}
    handles = {
        id(inside): {id(handle) for handle in origins[id(inside)]._tfopt_handles}
        for _, inside in tuples
        if hasattr(origins[id(inside)], "_tfopt_handles")
    }
    return origins, {name: _touched(name, handles, origins, tuples) for name in handles}


def _touched(name, handles, origins, tuples):
    """What the graph captures of a bundle's variables, and the other bundles that share one with it."""
    return [
        inside
        for _, inside in tuples
        if id(origins[id(inside)]) in handles[name] or handles[name] & handles.get(id(inside), set())
    ]


def _origin(tensor):
    if not tf.is_symbolic_tensor(tensor):
        return tensor
    return _captures(tensor.graph).origins.get(id(tensor), tensor)
