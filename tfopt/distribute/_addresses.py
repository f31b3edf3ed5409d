"""Which processes a cluster consists of, and whether they answer."""

import contextlib
import json
import os
import socket

from tfopt._check import require
from tfopt.distribute import _rendezvous

JOBS = ("worker", "ps", "chief")


def tf_config(owner):
    """The dict in the environment variable TF_CONFIG, or a ValueError."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    require(
        isinstance(found, dict) and isinstance(found.get("cluster"), dict),
        owner,
        "TF_CONFIG",
        text,
        'a JSON object with "cluster", a dict from job ("worker", "ps", "chief") to addresses "host:port"',
    )
    return found


def checked(owner, cluster):
    """`cluster` as a dict from job to a list of addresses, or a ValueError that says what is wrong."""
    require(isinstance(cluster, dict), owner, "cluster", cluster, "a dict from job to a list of addresses")
    cluster = {job: list(addresses) for job, addresses in cluster.items()}
    for job in ("worker", "ps"):
        expected = f'at least one address "host:port" for the job {job!r}'
        require(cluster.get(job), owner, "cluster", cluster, expected)
    require(set(cluster) <= set(JOBS), owner, "cluster", cluster, f"no other jobs than {', '.join(JOBS)}")
    addresses = [address for job in cluster.values() for address in job]
    for address in addresses:
        require(_is_address(address), owner, "cluster", cluster, f'addresses "host:port", not {address!r}')
    require(len(set(addresses)) == len(addresses), owner, "cluster", cluster, "each address once")
    return cluster


def _is_address(address):
    try:
        _rendezvous.address_of(address)
    except ValueError:
        return False
    return True


def free_ports(count, host="127.0.0.1"):
    """So many ports of `host`, all different, that nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in probes]


def host_towards(address):
    """This machine's address as the process at `address` sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: a datagram socket only looks up the way.
        probe.connect(_rendezvous.address_of(address))
        return probe.getsockname()[0]


def require_free(owner, address):
    """Raise OSError unless this process could listen on the port of `address`."""
    port = _rendezvous.address_of(address)[1]
    try:
        _rendezvous.listen(port).close()
    except OSError as error:
        raise OSError(
            error.errno, f"{owner}: expected port {port} of {address} to be free: {error}"
        ) from None


def silent(cluster, jobs=("worker", "ps"), timeout=0.0):
    """Names ``job index at address`` of the processes that nobody answers for within `timeout` seconds."""
    peers = {
        f"{job} {index} at {address}": _rendezvous.address_of(address)
        for job in jobs
        for index, address in enumerate(cluster.get(job, ()))
    }
    return _rendezvous.missing(peers, timeout)
