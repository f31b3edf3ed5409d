"""What the kernels must ask TensorFlow's private parts."""

import tensorflow as tf
from tensorflow.python.framework import kernels
from tensorflow.python.ops import control_flow_util


def compiled_by_xla():
    """Whether the graph being traced, or one around it, is for XLA: ``jit_compile=True``, or a TPU's."""
    graph = tf.compat.v1.get_default_graph()
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(graph)


def xla_knows(op):
    """Whether XLA can compile the op of that name: TensorFlow takes lowerings in once, with its first op."""
    registered = kernels.get_registered_kernels_for_op(op).kernel
    return any(kernel.device_type.startswith("XLA_") for kernel in registered)
