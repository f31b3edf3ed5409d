"""serve: what runs on every worker and parameter server."""

import os

import tensorflow as tf

from tfopt.distribute import _addresses
from tfopt.distribute._config import place_of, tf_config
from tfopt.kernels import library


def serve(*, wait=True):
    """Serve the coordinator as the worker or parameter server that ``TF_CONFIG`` says this process is.

    ``TF_CONFIG`` is TensorFlow's: ``{"cluster": {"worker": [...], "ps": [...]}, "task": {"type": "worker",
    "index": 0}}``. ``python -m tfopt serve`` does the same from a shell. tfopt's fused kernels are loaded, so
    that the servers can run them. A worker may be killed and started anew at any time; a parameter server
    holds the weights, and losing it ends the training.

    Args:
        wait: Serve for ever. False returns the `tf.distribute.Server`, which serves as long as the process
            lives.

    Raises:
        ValueError: If ``TF_CONFIG`` is missing or names no task of the jobs ``worker`` and ``ps``.
        OSError: If the port is in use.

    Example:
        >>> import os, tfopt
        >>> _ = os.environ.pop("TF_CONFIG", None)
        >>> tfopt.distribute.serve()
        Traceback (most recent call last):
        ValueError: serve(TF_CONFIG=''): expected a JSON object with "cluster", ...

    Source: chapter section 3.2.
    """
    cluster, task = tf_config("serve")
    cluster = _addresses.checked("serve", cluster)
    job, index = place_of("serve", cluster, task, ("worker", "ps"))
    _addresses.require_free("serve", cluster[job][index])
    library.load()
    # Every worker may keep a thread waiting for its turn.
    threads = max(os.cpu_count() or 1, len(cluster["worker"]) + 1)
    server = tf.distribute.Server(
        tf.train.ClusterSpec(cluster),
        job_name=job,
        task_index=index,
        protocol="grpc",
        config=tf.compat.v1.ConfigProto(inter_op_parallelism_threads=threads),
        start=True,
    )
    if wait:
        server.join()
    return server
