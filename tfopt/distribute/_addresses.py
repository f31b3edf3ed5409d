"""Which processes a cluster consists of, and whether they answer."""

import json
import os
import socket
import time

from tfopt._check import require

JOBS = ("worker", "ps", "chief")
# Between two attempts to reach a process.
PAUSE = 0.1


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
    host, _, port = str(address).rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def parts(address):
    """Host and port of an address."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def free_port(host="127.0.0.1"):
    """A port of `host` that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def host_towards(address):
    """This machine's address as the process at `address` sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: a datagram socket only looks up the way.
        probe.connect(parts(address))
        return probe.getsockname()[0]


def require_free(owner, address):
    """Raise OSError unless this process could listen on the port of `address`."""
    with socket.socket() as probe:
        # Connections that a killed predecessor left behind do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", parts(address)[1]))
            probe.listen(1)
        except OSError as error:
            raise OSError(
                error.errno, f"{owner}: expected port {parts(address)[1]} of {address} to be free: {error}"
            ) from None


def silent(cluster, jobs=("worker", "ps"), timeout=0.0):
    """Names ``job index at address`` of the processes that nobody answers for within `timeout` seconds."""
    waiting = {
        f"{job} {index} at {address}": address
        for job in jobs
        for index, address in enumerate(cluster.get(job, ()))
    }
    end = time.monotonic() + timeout
    while True:
        waiting = {name: address for name, address in waiting.items() if not _answers(address)}
        if not waiting or time.monotonic() >= end:
            return list(waiting)
        time.sleep(PAUSE)


def _answers(address):
    try:
        with socket.create_connection(parts(address), timeout=1.0):
            return True
    except OSError:
        return False
