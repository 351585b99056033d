"""Bytes over a socket, since no well-behaved client sends what an attacker does."""

import socket
from contextlib import suppress
from select import select
from urllib.parse import urlsplit


def connect(origin: str) -> socket.socket:
    """Return a connection to the origin."""
    at = urlsplit(origin)
    assert at.hostname is not None
    return socket.create_connection((at.hostname, at.port or 80), timeout=120)


def exchange(origin: str, sent: bytes) -> bytes:
    """Send the bytes and return everything that is answered until the other side closes."""
    with connect(origin) as connection:
        connection.sendall(sent)
        return _read(connection)


def sent_until_refused(origin: str, start: bytes, chunk: bytes, *, most: int) -> tuple[int, bytes]:
    """Send ``start`` and then ``chunk`` up to ``most`` times; return how many went out, and the answer."""
    sent, answer = 0, b""
    with connect(origin) as connection, suppress(ConnectionError):
        connection.sendall(start)
        while sent < most and not select([connection], [], [], 0)[0]:
            connection.sendall(chunk)
            sent += 1
        answer = connection.recv(65536)
    return sent, answer


def _read(connection: socket.socket) -> bytes:
    answer = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            answer += part
    return answer
