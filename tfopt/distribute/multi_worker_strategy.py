"""multi_worker_strategy: TensorFlow's strategy for several workers, waited for with an end to it."""

import tensorflow as tf

from tfopt._check import require_positive
from tfopt.distribute import _addresses, _rendezvous
from tfopt.distribute._config import place_of, tf_config

OWNER = "multi_worker_strategy"
# Jobs that train together, in the order in which TensorFlow counts them.
JOBS = ("chief", "worker")


def multi_worker_strategy(timeout=60.0, communication_options=None):
    """Make a `tf.distribute.MultiWorkerMirroredStrategy` once all workers of TF_CONFIG have come.

    TensorFlow's own constructor waits for ever for a worker that never comes, and says nothing of it. Here
    each worker first takes its own port and waits until it has reached every other one's; then all of them
    make the strategy. With one worker, or none in TF_CONFIG, nothing is waited for.

    Every worker builds the same model and optimizer within ``strategy.scope()``; tfopt's optimizers compare
    themselves between the workers when they are built, and raise where they differ. Keras' `fit` needs
    `tfopt.repair_keras()` on several workers, after this call: TensorFlow makes the strategy only before it
    has done anything else, which the repair does. A worker that dies during training is noticed by
    TensorFlow's heartbeat, and the others then raise.

    Args:
        timeout: Seconds to wait for the others.
        communication_options: `tf.distribute.experimental.CommunicationOptions`, as TensorFlow's strategy
            takes them.

    Returns:
        The strategy.

    Raises:
        ValueError: If TF_CONFIG is no JSON of a cluster and of a task in it, or `timeout` is not above 0.
        OSError: If this worker's port is in use; nothing has been started then.
        TimeoutError: If a worker has not come in time; the message names each.

    Example:
        >>> import json, os, tfopt
        >>> workers = ["127.0.0.1:39281", "127.0.0.1:39282"]
        >>> task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
        >>> os.environ["TF_CONFIG"] = json.dumps(task)
        >>> tfopt.distribute.multi_worker_strategy(timeout=0.1)
        Traceback (most recent call last):
        TimeoutError: multi_worker_strategy(timeout=0.1): expected all workers within 0.1 s; ...
        >>> del os.environ["TF_CONFIG"]

    Source: chapter section 3.2, synchronous updates: n workers with a share of a batch each take the step of
    one device with the whole of it.
    """
    require_positive(OWNER, timeout=timeout)
    workers, own = _workers()
    if len(workers) > 1:
        _meet(workers, own, timeout)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=communication_options)


def _workers():
    """The workers as ``{name: (host, port)}`` and the name of this one."""
    cluster, task = tf_config(OWNER, required=False)
    cluster = {job: cluster[job] for job in JOBS if job in cluster}
    _addresses.require_addresses(OWNER, cluster)
    names = {
        (job, index): f"{job} {index} at {address}"
        for job in cluster
        for index, address in enumerate(cluster[job])
    }
    workers = {name: _rendezvous.address_of(cluster[job][index]) for (job, index), name in names.items()}
    return workers, names[place_of(OWNER, cluster, task, JOBS)] if names else None


def _meet(workers, own, timeout):
    """Answer on the own port until every other worker does on its."""
    others = {name: address for name, address in workers.items() if name != own}
    try:
        answering = _rendezvous.listen(workers[own][1])
    except OSError as error:
        raise OSError(
            error.errno, f"{OWNER}: expected the port of {own} to be free: {error.strerror or error}"
        ) from None
    with answering:
        late = _rendezvous.missing(others, timeout)
    if late:
        raise TimeoutError(
            f"{OWNER}(timeout={timeout!r}): expected all workers within {timeout:g} s; nobody answers for "
            f"{', '.join(late)}. Start each with its own index in TF_CONFIG."
        )
