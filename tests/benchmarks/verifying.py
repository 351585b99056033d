"""How much of a constant answer the verify route reaches, on one core, in the same run.

One process serves a constant raw ASGI application and the verify route by the server of the product, on the first core;
this one asks from the second core over 32 connections, in turns, so that whatever else the machine does falls on all.
Every attempt goes to Kafka, and at the end all must be acknowledged; the broker may use both cores. nginx's
constant answer (on the first core too) stands beside them as the ceiling of the machine and of whoever asks, and a
look-up as one would write it by hand in a process of its own on the first core; its Postgres may use both.
"""

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from infra.local import start_kafka, start_nginx, start_postgres
from infra.local.gateway import render_constant
from tests.benchmarks.load import ask
from tests.benchmarks.processor import cpu_seconds
from tests.benchmarks.report import Row, quantile

KEYS = 1_000_000
ROUNDS = 5
ROUND_SECONDS = 1.5
CONNECTIONS = 32


def measure(folder: Path) -> list[Row]:
    """Return the rows: the ceilings, the verify route over HTTP, a look-up written by hand, and the check alone."""
    nginx = start_nginx(folder, lambda port: render_constant(port=port))
    postgres = start_postgres(folder / "postgres", trust=True)
    kafka = start_kafka(folder / "kafka")
    affinity = os.sched_getaffinity(0)
    log = f"kafka://{kafka.bootstrap}"
    ours = [sys.executable, "-m", "tests.benchmarks.verify_server", str(folder), str(KEYS), log]
    by_hand = [sys.executable, "-m", "tests.benchmarks.lookup_server", postgres.url, str(folder), str(KEYS)]
    try:
        with _serving(ours) as (server, line):
            constant, verify, microseconds = line.split()
            tokens = (folder / "tokens").read_text(encoding="ascii").split("\n")
            with _serving(by_hand) as (_, lookup):
                os.sched_setaffinity(0, {1})
                ports = {"nginx": int(nginx.url.rpartition(":")[2]), "constant": int(constant)}
                ports |= {"verify": int(verify), "by hand": int(lookup)}
                rows = _compare(server, ports, tokens)
        return [*rows, Row(f"the check alone, in us of processor time, {KEYS:,} keys", float(microseconds))]
    finally:
        os.sched_setaffinity(0, affinity)
        kafka.stop()
        postgres.stop()
        nginx.stop()


@contextlib.contextmanager
def _serving(command: list[str]) -> Iterator[tuple[int, str]]:
    """Run a server; give its process id and the line it says when it is ready."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.pid, server.stdout.readline()
        finally:
            server.kill()


def _compare(server: int, ports: dict[str, int], tokens: list[str]) -> list[Row]:
    requests = {name: [_request("/v1/auth/verify", token) for token in tokens] for name in ports}
    requests["nginx"] = [_request("/nginx-constant", tokens[0])]
    rates: dict[str, list[float]] = {name: [] for name in ports}
    latencies: dict[str, list[float]] = {name: [] for name in ports}
    costs: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(ROUNDS):
        for name, port in ports.items():
            start = cpu_seconds(server)
            asked = itertools.cycle(requests[name])
            load = ask([port], asked, connections=CONNECTIONS, seconds=ROUND_SECONDS, status=200)
            costs[name].append((cpu_seconds(server) - start) / len(load.latencies))
            rates[name].append(load.rate)
            latencies[name] += load.latencies
    _must_be_acknowledged(ports["verify"], attempts=len(latencies["verify"]))
    to_constant = _ratios(rates["verify"], rates["constant"])
    by_cpu = statistics.median(_ratios(costs["constant"], costs["verify"]))
    p99s = {name: quantile(latencies[name], 0.99) * 1e3 for name in ports}
    ours = f"verify over HTTP, one worker: requests/s, {KEYS:,} keys, each acknowledged by Kafka"
    note = f"{ROUNDS} rounds: {min(to_constant):.2f} to {max(to_constant):.2f}; by processor time {by_cpu:.2f}; "
    times = f"p50 {quantile(latencies['verify'], 0.5) * 1e3:.2f}, p99 {p99s['verify']:.2f} ms"
    times += f", {p99s['verify'] / p99s['constant']:.1f} times the constant's"
    rate = statistics.median(rates["verify"])
    to_hand = _ratios(rates["verify"], rates["by hand"])
    return [
        Row("nginx: requests/s, a constant answer", statistics.median(rates["nginx"])),
        Row("uvicorn, one worker: requests/s, a constant raw ASGI app", statistics.median(rates["constant"])),
        Row(ours, rate, statistics.median(to_constant), note + times),
        Row(
            f"FastAPI, asyncpg, SHA-256 by hand, one worker: requests/s, {KEYS:,} keys, nothing recorded",
            statistics.median(rates["by hand"]),
            note=f"p99 {p99s['by hand']:.2f} ms",
        ),
        Row("verify over HTTP against that", rate, statistics.median(to_hand)),
    ]


def _must_be_acknowledged(port: int, *, attempts: int) -> None:
    """Return once the log has acknowledged all attempts that were answered, in both topics, and none was dropped."""
    figures: dict[str, float] = {}
    while figures.get("keyledger_verifier_attempts_waiting") != 0:
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
        figures = {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}
    assert figures["keyledger_verifier_attempts_dropped_total"] == 0, figures
    assert figures["keyledger_verifier_attempts_acknowledged_total"] >= 2 * attempts, figures


def _ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ones, others, strict=True)]


def _request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
