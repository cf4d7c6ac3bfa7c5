"""Free ports on the loopback address.

Both ports are checked before the server is started: Neo4j itself gives up only after half a minute, and names the wrong one.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"
BOLT_PORT = 7687
HTTP_PORT = 7474
TRIES = 100


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the JVM does: a port in TIME_WAIT is free, one that somebody listens on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def pick_port(wanted: int, taken: frozenset[int] = frozenset()) -> int:
    """``wanted`` if it is free, else the next free port above it, else any free one; never one of ``taken``."""
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if port not in taken and is_free(port):
            return port
    return any_port()


def any_port() -> int:
    """A free port that nobody asked for."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
