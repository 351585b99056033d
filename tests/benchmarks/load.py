"""A light client of many keep-alive connections: one request at a time on each, no library in between."""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What was answered: answers a second, and how long each took in seconds."""

    rate: float
    latencies: list[float]


def ask(ports: Sequence[int], requests: Iterator[bytes], *, connections: int, seconds: float, status: int) -> Load:
    """Ask over connections that are spread evenly over the ports, for a time.

    Raises:
        RuntimeError: an answer of another status; with all of the answer.
    """
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    begun: dict[int, float] = {}
    received: dict[int, bytes] = {}
    latencies: list[float] = []
    for number in range(connections):
        one = socket.create_connection(("127.0.0.1", ports[number % len(ports)]))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
    began = time.perf_counter()
    for place, one in sockets.items():
        begun[place] = time.perf_counter()
        one.send(next(requests))
    while time.perf_counter() - began < seconds:
        for place, _ in poll.poll(1):
            answer = received.pop(place, b"") + sockets[place].recv(65536)
            if not _is_whole(answer, status):
                received[place] = answer
                continue
            now = time.perf_counter()
            latencies.append(now - begun[place])
            begun[place] = now
            sockets[place].send(next(requests))
    took = time.perf_counter() - began
    for one in sockets.values():
        one.close()
    poll.close()
    return Load(len(latencies) / took, latencies)


def _is_whole(answer: bytes, status: int) -> bool:
    """Say whether nothing is missing: the server sends head and body in two writes."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    if not answer.startswith(b"HTTP/1.1 %d " % status):
        raise RuntimeError(answer.decode())
    return len(body) >= content_length(head)


def content_length(head: bytes) -> int:
    """Return how many bytes follow the head of an answer."""
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
