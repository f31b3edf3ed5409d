"""Normalisation in the fewest passes over memory, forward and backward, on CPU and GPU and under XLA.

Tensors come as [outer, inner, groups, width]: every (outer, group) has statistics of its own. γ and β are
vectors with a number for each `run` elements of a sample, and start again behind their last.
"""

import tensorflow as tf

from tfopt.kernels.rows import ops_for

DTYPES = (tf.float32, tf.float16, tf.bfloat16)


def ops_of(x):
    """The library's ops where they serve a tensor like `x`, in the graph being traced; None elsewhere."""
    if x.dtype not in DTYPES:
        return None
    return ops_for(None if tf.is_symbolic_tensor(x) else x.device, on_gpus=True)


def normalize(ops, x, gamma, beta, run, epsilon):
    """y in the dtype of `x`, and mean and variance [outer, groups], float32; 0 where there is no element."""
    return ops.tfopt_normalize(x=x, gamma=gamma, beta=beta, run=run, epsilon=epsilon)


def gradients(ops, x, upstream, gamma, statistics, run, epsilon):
    """Gradients with respect to x, in its dtype, and to γ and β, float32, from the pass' statistics."""
    mean, variance = statistics
    return ops.tfopt_normalize_backward(
        x=x, upstream=upstream, gamma=gamma, mean=mean, variance=variance, run=run, epsilon=epsilon
    )
