"""Many variables handed to an op as one resource.

TensorFlow spends microseconds on each resource that a graph captures, in every call: more than the update of
a small variable takes. A bundle is one resource that stands for a list of variables.
"""

import threading

import tensorflow as tf

from tfopt.kernels._glue import announce_bundle, compiled_by_xla
from tfopt.kernels._gradients import kind_of

_KEPT = "_tfopt_bundles"
_lock = threading.Lock()


def bundle_of(make, variables):
    """A handle to the bundle of `variables`, or None where only a list of their handles serves.

    Under XLA, which cannot look into a bundle, for variables that live in a graph, and off the CPU, lists
    serve. A bundle is made once, outside of every graph, and kept by the last of its variables: it goes when
    that one goes.
    An optimizer lists its own variables last, so that no weight keeps the state of one that is gone.

    Args:
        make: TensorFlow's wrapper of the op that makes one.
        variables: Native variables, at least one.
    """
    handles = [variable.handle for variable in variables]
    elsewhere = kind_of(variables[0].device) not in ("CPU", None)
    if compiled_by_xla() or elsewhere or any(tf.is_symbolic_tensor(handle) for handle in handles):
        return None
    kept = vars(variables[-1]).setdefault(_KEPT, {})
    # A bundle holds on to the handles, so none of them can be another's successor in memory.
    key = tuple(map(id, handles))
    with _lock:
        if key not in kept:
            kept[key] = _made(make, handles)
    return kept[key]


def _made(make, handles):
    with tf.init_scope():
        bundle = make(variables=handles)
    announce_bundle(bundle, handles)
    return bundle
