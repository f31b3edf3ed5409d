"""Workers that wait for each other, with an end to it, before TensorFlow waits without one."""

import socket
import time

# Between two attempts to reach a peer, and for one of them.
PAUSE, ATTEMPT = 0.1, 1.0
# HTTP/2's way to begin, with an empty SETTINGS frame; what answers begins with one of its own.
PREFACE, SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def address_of(text):
    """Host and port of ``"host:port"``; a ValueError where it is none."""
    host, _, port = str(text).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def listen(port):
    """A socket that answers on the worker's own port; an OSError where something else does."""
    answering = socket.socket()
    # Connections that a predecessor left behind do not count as use.
    answering.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        answering.bind(("", port))
        answering.listen()
    except OSError:
        answering.close()
        raise
    return answering


def answers(address):
    """Whether somebody accepts a connection; a process that stands still does."""
    try:
        with socket.create_connection(address, timeout=ATTEMPT):
            return True
    except OSError:
        return False


def serves(address):
    """Whether a gRPC server accepts a connection and says something."""
    try:
        with socket.create_connection(address, timeout=ATTEMPT) as connection:
            connection.sendall(PREFACE + SETTINGS)
            return bool(connection.recv(1))
    except OSError:
        return False


def missing(peers, timeout, there=answers):
    """Those of ``{name: (host, port)}`` that have not been `there` within `timeout` seconds."""
    waiting, end = dict(peers), time.monotonic() + timeout
    while True:
        waiting = {name: address for name, address in waiting.items() if not there(address)}
        if not waiting or time.monotonic() >= end:
            return list(waiting)
        time.sleep(PAUSE)
