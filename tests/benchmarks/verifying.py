"""How much of a constant answer the verify route reaches, on one core, in the same run.

One process serves a constant raw ASGI application and the verify route under uvicorn on the first core; this one asks
from the second core over 32 connections, in turns, so that whatever else the machine does falls on all. nginx's
constant answer (on the first core too) stands beside them as the ceiling of the machine and of whoever asks.
"""

import os
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infra.local import start_nginx
from infra.local.gateway import render_constant
from tests.benchmarks.report import Row, quantile

KEYS = 1_000_000
ROUNDS = 5
ROUND_SECONDS = 1.5
CONNECTIONS = 32


def measure(folder: Path) -> list[Row]:
    """Return the rows: the ceilings, the verify route over HTTP, and the check alone."""
    command = [sys.executable, "-m", "tests.benchmarks.verify_server", str(folder), str(KEYS)]
    nginx = start_nginx(folder, lambda port: render_constant(port=port))
    affinity = os.sched_getaffinity(0)
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                constant, verify, microseconds = server.stdout.readline().split()
                tokens = (folder / "tokens").read_text(encoding="ascii").split("\n")
                os.sched_setaffinity(0, {1})
                nginx_port = int(nginx.url.rpartition(":")[2])
                rows = _compare(server.pid, nginx_port, int(constant), int(verify), tokens)
                return [*rows, Row(f"the check alone, in us of processor time, {KEYS:,} keys", float(microseconds))]
            finally:
                server.kill()
    finally:
        os.sched_setaffinity(0, affinity)
        nginx.stop()


def _compare(server: int, nginx: int, constant: int, verify: int, tokens: list[str]) -> list[Row]:
    requests = [_request("/v1/auth/verify", token) for token in tokens]
    rates: dict[str, list[float]] = {"nginx": [], "constant": [], "verify": []}
    latencies: list[float] = []
    costs: list[float] = []
    for _ in range(ROUNDS):
        rates["nginx"].append(_load(nginx, [_request("/nginx-constant", tokens[0])])[0])
        start = _cpu_seconds(server)
        rate, answered = _load(constant, requests)
        between = _cpu_seconds(server)
        rates["constant"].append(rate)
        verified, took = _load(verify, requests)
        rates["verify"].append(verified)
        latencies += took
        costs.append(((between - start) / len(answered)) / ((_cpu_seconds(server) - between) / len(took)))
    ratios = [one / other for one, other in zip(rates["verify"], rates["constant"], strict=True)]
    spread = (
        f"{ROUNDS} rounds: {min(ratios):.2f} to {max(ratios):.2f}; by processor time {statistics.median(costs):.2f}"
    )
    times = f"p50 {quantile(latencies, 0.5) * 1e3:.2f} ms, p99 {quantile(latencies, 0.99) * 1e3:.2f} ms"
    return [
        Row("nginx: requests/s, a constant answer", statistics.median(rates["nginx"])),
        Row("uvicorn, one worker: requests/s, a constant raw ASGI app", statistics.median(rates["constant"])),
        Row(
            f"verify over HTTP, one worker: requests/s, {KEYS:,} keys, each recorded",
            statistics.median(rates["verify"]),
            statistics.median(ratios),
            f"{spread}; {times}",
        ),
    ]


def _request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def _load(port: int, requests: Sequence[bytes]) -> tuple[float, list[float]]:
    """Ask over keep-alive connections, one request at a time on each; return answers a second and latencies."""
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    begun: dict[int, float] = {}
    received: dict[int, bytes] = {}
    latencies: list[float] = []
    number = 0

    def ask(one: socket.socket) -> None:
        nonlocal number
        number += 1
        begun[one.fileno()] = time.perf_counter()
        one.send(requests[number % len(requests)])

    for _ in range(CONNECTIONS):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
        ask(one)
    began = time.perf_counter()
    while time.perf_counter() - began < ROUND_SECONDS:
        for ready, _ in poll.poll(1):
            answer = received.pop(ready, b"") + sockets[ready].recv(65536)
            if not _is_whole(answer):
                received[ready] = answer
                continue
            latencies.append(time.perf_counter() - begun[ready])
            ask(sockets[ready])
    took = time.perf_counter() - began
    for one in sockets.values():
        one.close()
    return len(latencies) / took, latencies


def _is_whole(answer: bytes) -> bool:
    """Say whether nothing is missing: the server sends head and body in two writes."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.decode())
    return len(body) == int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


def _cpu_seconds(process: int) -> float:
    """Return what a process has had of the processors so far: it is not disturbed by others as elapsed time is."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
