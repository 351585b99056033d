"""Which loopback port a server may have."""

import os
import random
import socket
from collections import deque
from functools import cache

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel gives outgoing connections their ports (32768 up): else any client on the
# machine could take the port between our look and the server's bind.
FIRST, LAST = 20_000, 31_999
MOST_CLAIMS = 128
"""Of how many ports, the newest, a process keeps others of ours away; by then the older ones are bound or done with."""


def free_port() -> int:
    """Return a loopback port that nobody listened on a moment ago, and that no process of ours is given meanwhile.

    Raises:
        OSError: A hundred random ports were all taken.
    """
    for _ in range(100):
        port = random.randint(FIRST, LAST)  # noqa: S311 - spread, not secrecy
        if _is_got(port):
            return port
    raise OSError(f"no free loopback port found in {FIRST}-{LAST}")


def free_row(count: int) -> int:
    """Return the first of ``count`` loopback ports in a row that nobody listened on a moment ago.

    Raises:
        OSError: A hundred random rows all had a port that was taken.
    """
    for _ in range(100):
        first = free_port()
        if all(_is_got(first + n) for n in range(1, count)):
            return first
    raise OSError(f"no {count} free loopback ports in a row found in {FIRST}-{LAST}")


def is_taken(port: int) -> bool:
    """Say whether binding `port` on the loopback address fails now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def _is_got(port: int) -> bool:
    """Say whether this process has the port now, and nobody listens on it."""
    return _claim(port) and not is_taken(port)


def _claim(port: int) -> bool:
    """Keep a port for this process: a server's port is chosen long before the server binds it, by minutes under load.

    The claim is a name in the kernel's abstract namespace of sockets (unix(7)): it is gone with the process.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0keyledger-port-{port}")
    except OSError:
        claim.close()
        return False
    kept = _claims()
    kept.append(claim.detach())
    if len(kept) > MOST_CLAIMS:
        os.close(kept.popleft())
    return True


@cache
def _claims() -> deque[int]:
    """Return the open files of this process's claims, the oldest first."""
    return deque()
