"""Which processes a cluster consists of, and whether they answer."""

import contextlib
import socket

from tfopt._check import require
from tfopt.distribute import _rendezvous

JOBS = ("worker", "ps", "chief")


def checked(owner, cluster):
    """`cluster` as a dict from job to a list of addresses, or a ValueError that says what is wrong."""
    require(isinstance(cluster, dict), owner, "cluster", cluster, "a dict from job to a list of addresses")
    for job in ("worker", "ps"):
        expected = f'at least one address "host:port" for the job {job!r}'
        require(cluster.get(job), owner, "cluster", cluster, expected)
    require(set(cluster) <= set(JOBS), owner, "cluster", cluster, f"no other jobs than {', '.join(JOBS)}")
    require_addresses(owner, cluster)
    return {job: list(addresses) for job, addresses in cluster.items()}


def require_addresses(owner, cluster):
    """Raise ValueError unless each job has a list of addresses, and each address is there once."""
    for job, addresses in cluster.items():
        a_list = isinstance(addresses, (list, tuple))
        require(a_list, owner, "cluster", cluster, f"a list of addresses for the job {job!r}")
    addresses = [address for job in cluster.values() for address in job]
    for address in addresses:
        require(_is_address(address), owner, "cluster", cluster, f'addresses "host:port", not {address!r}')
    require(len(set(addresses)) == len(addresses), owner, "cluster", cluster, "each address once")


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
    """Names ``job index at address`` of the processes of which none serves within `timeout` seconds."""
    return _rendezvous.missing(_peers(cluster, jobs), timeout, _rendezvous.serves)


def stopped(cluster, timeout):
    """Names of the workers that are there, and do not say a word within `timeout` seconds."""
    peers = _peers(cluster, ("worker",))
    there = {name: address for name, address in peers.items() if _rendezvous.answers(address)}
    return _rendezvous.missing(there, timeout, _rendezvous.serves)


def _peers(cluster, jobs):
    return {
        f"{job} {index} at {address}": _rendezvous.address_of(address)
        for job in jobs
        for index, address in enumerate(cluster.get(job, ()))
    }
