"""What the kernels must ask TensorFlow's private parts."""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def compiled_by_xla():
    """Whether the graph being traced, or one around it, is for XLA: ``jit_compile=True``, or a TPU's."""
    graph = tf.compat.v1.get_default_graph()
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(graph)
