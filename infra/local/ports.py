"""Which loopback port a server may have."""

import random
import socket

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel gives outgoing connections their ports (32768 up): else any client on the
# machine could take the port between our look and the server's bind.
FIRST, LAST = 20_000, 31_999


def free_port() -> int:
    """Return a loopback port that nobody listened on a moment ago.

    Raises:
        OSError: A hundred random ports were all taken.
    """
    for _ in range(100):
        port = random.randint(FIRST, LAST)  # noqa: S311 - spread, not secrecy
        if not is_taken(port):
            return port
    raise OSError(f"no free loopback port found in {FIRST}-{LAST}")


def free_row(count: int) -> int:
    """Return the first of ``count`` loopback ports in a row that nobody listened on a moment ago.

    Raises:
        OSError: A hundred random rows all had a port that was taken.
    """
    for _ in range(100):
        first = free_port()
        if not any(is_taken(first + n) for n in range(1, count)):
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
