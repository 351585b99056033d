"""Keys created a second over HTTP, each answered 201: authenticated, decided under guards, durable, and recorded.

Every connection has an administrator's key of its own. Beside it, in the same run: a FastAPI route with the same body
and answer models under the same server, which asks and appends nothing.
"""

import itertools
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from infra.local import start_kafka, start_postgres
from infra.local.cluster import ONE_SHOTS, service_command, tool_command
from infra.local.ports import free_port
from infra.local.processes import Process, run, spawn
from tests.benchmarks.load import ask
from tests.benchmarks.processor import cpu_seconds
from tests.benchmarks.report import Row, quantile
from tests.e2e.profiles import environment, wait_until_ready

ROUNDS = 3
ROUND_SECONDS = 1.0
CALLERS = 32
_CEILING = [sys.executable, "-m", "tests.benchmarks.create_ceiling"]

Served = Mapping[int, Process]
"""Processes by their ports."""


def measure(folder: Path) -> list[Row]:
    """Return the rows: the ceiling, then one and two command processes on each ledger, then the one process."""
    with _served(folder, "ceiling", _CEILING, {}) as (port, process):
        ceiling = {port: process}
        rows = [_ceiling(ceiling), *_of_commands(folder / "sqlite", "SQLite", {}, ceiling)]
        with ExitStack() as stack:
            rows += _of_commands(folder / "postgres", "Postgres", _servers(stack, folder), ceiling)
        return [*rows, _embedded(folder / "embedded", ceiling)]


def _ceiling(served: Served) -> Row:
    rounds = [_round(served, ["none"], 32) for _ in range(ROUNDS)]
    rate, cost = (statistics.median(values) for values in zip(*((one.rate, one.cost) for one in rounds), strict=True))
    return Row("a FastAPI route that appends nothing, one process: answers/s", rate, note=f"{cost:.0f} us of processor")


def _servers(stack: ExitStack, folder: Path) -> dict[str, str]:
    postgres, kafka = start_postgres(folder / "pg", trust=True), start_kafka(folder / "kafka")
    stack.callback(postgres.stop)
    stack.callback(kafka.stop)
    return {"KEYLEDGER_DATABASE_URL": postgres.url, "KEYLEDGER_KAFKA_BOOTSTRAP": kafka.bootstrap}


def _of_commands(folder: Path, name: str, settings: Mapping[str, str], ceiling: Served) -> list[Row]:
    folder.mkdir()
    shared = {**environment(folder / "data", free_port()), **settings}
    for command in ONE_SHOTS:
        run(f"keyledger {command}", tool_command(command), log=folder / "prepare.log", environment=shared)
    rows = []
    with ExitStack() as stack:
        served = [
            stack.enter_context(_served(folder, f"commands-{number}", service_command("commands"), settings))
            for number in range(2)
        ]
        tokens = _callers(served[0][0], folder / "data")
        for processes, connections in ((1, 32), (2, 64)):
            what = f"{name}: keys created/s, command processes: {processes}, connections: {connections}"
            rows.append(_row(what, dict(served[:processes]), tokens, ceiling, connections))
    return rows


def _embedded(folder: Path, ceiling: Served) -> Row:
    with _served(folder, "serve", tool_command("serve"), {}) as (port, process):
        tokens = _callers(port, folder / "data")
        what = "one process, all services (`keyledger serve`): keys created/s, connections: 32"
        return _row(what, {port: process}, tokens, ceiling, 32)


@dataclass(frozen=True)
class _Round:
    rate: float
    cost: float
    """us of processor time of the serving processes for an answer: neighbours disturb it less than a rate."""
    latencies: list[float]


def _round(served: Served, tokens: Sequence[str], connections: int) -> _Round:
    before = sum(cpu_seconds(process.pid) for process in served.values())
    load = ask(list(served), _requests(tokens), connections=connections, seconds=ROUND_SECONDS, status=201)
    cost = (sum(cpu_seconds(process.pid) for process in served.values()) - before) / len(load.latencies) * 1e6
    return _Round(load.rate, cost, load.latencies)


def _row(what: str, served: Served, tokens: Sequence[str], ceiling: Served, connections: int) -> Row:
    """Ask both in turns, so that whatever else the machine does falls on both."""
    _round(served, tokens, connections)
    rounds = [(_round(ceiling, ["none"], connections), _round(served, tokens, connections)) for _ in range(ROUNDS)]
    rate, ratio, cost, share = (
        statistics.median(values)
        for values in zip(
            *((one.rate, one.rate / top.rate, one.cost, top.cost / one.cost) for top, one in rounds), strict=True
        )
    )
    latencies = [latency for _, one in rounds for latency in one.latencies]
    p50, p99 = (quantile(latencies, part) * 1e3 for part in (0.5, 0.99))
    note = f"p50 {p50:.1f}, p99 {p99:.1f} ms; {cost:.0f} us of these processes' processor time, {share:.2f} by that"
    return Row(what, rate, ratio, note)


@contextmanager
def _served(
    folder: Path, name: str, command: Sequence[str], settings: Mapping[str, str]
) -> Iterator[tuple[int, Process]]:
    """Start a process in the folder and give its port once it is ready."""
    port = free_port()
    ours = {**environment(folder / "data", port), "KEYLEDGER_NODE": name, **settings}
    process = spawn(name, command, log=folder / f"{name}.log", environment=ours)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield port, process
    finally:
        process.stop()


def _callers(port: int, data_dir: Path) -> list[str]:
    """Return an administrator's key for each connection."""
    root = (data_dir / "root.key").read_text(encoding="ascii").strip()
    headers = {"Authorization": f"Bearer {root}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        tokens = []
        for number in range(CALLERS):
            user = client.post("/v1/users", json={"name": f"admin {number}", "role": "administrator"}).json()["id"]
            made = client.post("/v1/api-keys", json={"name": "caller", "owner_id": user})
            tokens.append(made.json()["key"])
    return tokens


def _requests(tokens: Sequence[str]) -> Iterator[bytes]:
    for number, token in zip(itertools.count(), itertools.cycle(tokens)):
        body = b'{"name": "key %d", "role": "developer", "environment": "prod"}' % number
        head = (
            "POST /v1/api-keys HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body
