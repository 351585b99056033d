"""From the answer to a DELETE until the verifier refuses the key: how long a revoked key still works."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.benchmarks.report import Row, quantile
from tests.e2e.profiles import Distributed, Embedded, running

ROUNDS = 200
WRITES_PER_SECOND = 500
SHARES = (0.5, 0.9, 0.95, 0.99, 0.995, 1.0)
EDGES_MS = (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 100, float("inf"))


class Revocation(NamedTuple):
    """How long the answer to a revocation took, and how long the key still worked behind it."""

    answered_ms: float
    refused_ms: float


def measure(folder: Path) -> list[Row]:
    """Return the distributions on both profiles, idle and while others write, in milliseconds."""
    with running(Embedded, folder / "embedded") as embedded:
        rows = _of("one process", embedded)
    with running(Distributed, folder / "distributed") as distributed:
        return rows + _of("Kafka and Postgres", distributed)


def _of(name: str, profile: Embedded | Distributed) -> list[Row]:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(_connected(profile.origin)) for _ in range(2)]
        root = profile.root_key()
        _rounds(root, connections, ROUNDS // 2)  # connections, caches and the broker's compiler are warm then
        idle = _rounds(root, connections, ROUNDS)
        with _writing(profile.origin, root) as reached:
            busy = _rounds(root, connections, ROUNDS)
        return [
            *_rows(f"{name}, idle", idle),
            *_rows(f"{name}, {WRITES_PER_SECOND} writes/s", busy, f"{reached[0]} writes/s reached; "),
        ]


def _rows(name: str, rounds: list[Revocation], note: str = "") -> list[Row]:
    """In one process the DELETE's answer waits for the verifier, so both parts are shown."""
    return [
        _row(f"{name}: answered revoke -> refused", [one.refused_ms for one in rounds], note),
        _row(f"{name}: revoke sent -> answered", [one.answered_ms for one in rounds]),
    ]


def _row(what: str, delays: list[float], note: str = "") -> Row:
    shares = ", ".join(f"p{share * 100:g} {quantile(delays, share):.2f}" for share in SHARES)
    what = f"{what}, p99 in ms, {len(delays)} rounds"
    return Row(what, quantile(delays, 0.99), note=f"{note}{shares}; {histogram(delays)}")


def histogram(delays: Sequence[float]) -> str:
    """Return how many lie below each edge and not below the one before it."""
    counts = []
    low = 0.0
    for edge in EDGES_MS:
        count = sum(low <= delay < edge for delay in delays)
        counts.append(f"<{edge:g}: {count}" if edge != float("inf") else f"more: {count}")
        low = edge
    return ", ".join(counts)


def _rounds(root: str, connections: Sequence[http.client.HTTPConnection], count: int) -> list[Revocation]:
    return [_one(root, *connections) for _ in range(count)]


def _one(root: str, management: http.client.HTTPConnection, verifier: http.client.HTTPConnection) -> Revocation:
    """Revoke a key of its own, and ask until it is refused; the question itself is part of the time."""
    created, position = _ask(management, "POST", "/v1/api-keys", root, json.dumps({"name": "short-lived"}))
    assert created["status"] == 201, created
    seen, _ = _ask(verifier, "GET", "/v1/auth/verify", created["key"], at_least=position)
    assert seen["status"] == 200, seen
    sent = time.perf_counter()
    deleted, _ = _ask(management, "DELETE", f"/v1/api-keys/{created['id']}", root)
    answered = time.perf_counter()
    assert deleted["status"] == 204, deleted
    while _ask(verifier, "GET", "/v1/auth/verify", created["key"])[0]["status"] == 200:
        pass
    refused = time.perf_counter()
    return Revocation((answered - sent) * 1000, (refused - answered) * 1000)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    token: str,
    body: str | None = None,
    *,
    at_least: str | None = None,
) -> tuple[dict[str, Any], str | None]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    if at_least is not None:
        headers["Keyledger-At-Least"] = at_least
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    found = json.loads(content) if content else {}
    return {**found, "status": answer.status}, answer.getheader("Keyledger-Position")


@contextlib.contextmanager
def _connected(origin: str) -> Iterator[http.client.HTTPConnection]:
    """Give one connection that stays: a library's own work would be a good part of what is measured."""
    address = urlsplit(origin)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def _writing(origin: str, root: str) -> Iterator[list[str]]:
    """Have others write meanwhile; afterwards the list holds how many a second they reached."""
    command = [sys.executable, "-m", "tests.benchmarks.paced_writes", origin, str(WRITES_PER_SECOND)]
    reached: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writing:
        try:
            assert writing.stdin is not None
            writing.stdin.write(f"{root}\n")
            writing.stdin.flush()
            time.sleep(1.0)  # the pace is reached by then; a measurement, not a test
            yield reached
            assert writing.poll() is None, "the writes ended early"
            reached.append(writing.communicate("\n")[0].strip())
        finally:
            writing.kill()
