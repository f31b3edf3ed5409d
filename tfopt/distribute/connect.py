"""connect: the strategy of a cluster whose processes have all been seen to answer."""

import tensorflow as tf

from tfopt._check import require_positive
from tfopt.distribute import _addresses
from tfopt.distribute._config import tf_config
from tfopt.kernels import library


def connect(cluster=None, *, timeout=60.0):
    """Wait for every worker and server of a cluster, and connect this process to them as the coordinator.

    TensorFlow's own constructor waits for minutes, or for ever, for a process that never comes. Here each is
    first looked for, and those that are missing are named; so are those that accept a connection and stand
    still.

    Connecting gives this process a TensorFlow runtime that is new: variables, models, optimizers and
    `tf.data` datasets that were made before, under an earlier connection too, fail from then on with an
    InvalidArgumentError ("Client for target ... not found", "unknown device"). Make variables afterwards,
    within the strategy's ``scope()``, and datasets outside of it; save before what is still wanted. NumPy
    arrays and tensors stay good.

    Args:
        cluster: Dict from job, ``"worker"`` and ``"ps"`` (parameter server), to a list of addresses
            ``"host:port"``; ``"chief"``, with one address, is the coordinator's own and found by itself where
            it is not given. A `tf.distribute.cluster_resolver.ClusterResolver` is taken too. Default: what
            the environment variable ``TF_CONFIG`` says.
        timeout: Seconds to wait for all of them.

    Returns:
        A `tf.distribute.ParameterServerStrategy`; variables made under its ``scope()`` lie on the servers,
        whole, in turn.

    Raises:
        ValueError: If there is no cluster, no worker or no server in it, or an address is none.
        OSError: If the coordinator's own port is in use.
        TimeoutError: If a process does not answer in time; the message names it.

    Example:
        >>> import tfopt
        >>> tfopt.distribute.connect({"worker": ["127.0.0.1:1"], "ps": ["127.0.0.1:2"]}, timeout=0.1)
        Traceback (most recent call last):
        TimeoutError: connect: no answer within 0.1 s from worker 0 at 127.0.0.1:1, ps 0 at 127.0.0.1:2. ...

    Source: chapter section 3.2; Dean et al., Large Scale Distributed Deep Networks, 2012, section 4.1.
    """
    require_positive("connect", timeout=timeout)
    cluster = _complete(_addresses.checked("connect", _as_dict(cluster)))
    missing = _addresses.silent(cluster, timeout=timeout)
    if missing:
        raise TimeoutError(
            f"connect: no answer within {timeout:g} s from {', '.join(missing)}. Start each with "
            "`python -m tfopt serve`, TF_CONFIG telling it the cluster and its place in it."
        )
    # Before the connection, so that the functions sent to the servers may hold fused updates.
    library.load()
    return tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type="chief", task_id=0, rpc_layer="grpc"
        )
    )


def _as_dict(cluster):
    if cluster is None:
        return tf_config("connect")[0]
    if isinstance(cluster, tf.distribute.cluster_resolver.ClusterResolver):
        return cluster.cluster_spec().as_dict()
    return cluster


def _complete(cluster):
    """`cluster` with an address for the coordinator, on a port that is free."""
    if cluster.get("chief"):
        _addresses.require_free("connect", cluster["chief"][0])
        return cluster
    host = _addresses.host_towards(cluster["ps"][0])
    (port,) = _addresses.free_ports(1, host)
    return {**cluster, "chief": [f"{host}:{port}"]}
