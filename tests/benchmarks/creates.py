"""Keys created a second over HTTP, each answered 201: authenticated, decided under guards, durable, and recorded.

Every connection has an administrator's key of its own. Beside it, in the same run: a FastAPI route with the same body
and answer models under the same server, which asks and appends nothing.
"""

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from infra.local import start_kafka, start_postgres
from infra.local.cluster import ONE_SHOTS, service_command, tool_command
from infra.local.ports import free_port
from infra.local.processes import Process, run, spawn
from tests.benchmarks.load import ask
from tests.benchmarks.report import Row, quantile
from tests.e2e.profiles import environment, wait_until_ready

SECONDS = 3.0
CALLERS = 32
_CEILING = [sys.executable, "-m", "tests.benchmarks.create_ceiling"]


def measure(folder: Path) -> list[Row]:
    """Return the rows: the ceiling, then one and two command processes on each ledger, then the one process."""
    with ExitStack() as stack:
        port, ceiling = stack.enter_context(_served(folder, "ceiling", _CEILING, {}))
        rows = [_row("a FastAPI route that appends nothing, one process", {port: ceiling}, ["none"], None, 32)]
        best = rows[0].figure
        for name, settings in (("SQLite", {}), ("Postgres", None)):
            with ExitStack() as inner:
                env = settings if settings is not None else _servers(inner, folder)
                rows += _of_commands(folder / name, name, env, best)
    return rows + _embedded(folder / "embedded", best)


def _servers(stack: ExitStack, folder: Path) -> dict[str, str]:
    postgres, kafka = start_postgres(folder / "postgres", trust=True), start_kafka(folder / "kafka")
    stack.callback(postgres.stop)
    stack.callback(kafka.stop)
    return {"KEYLEDGER_DATABASE_URL": postgres.url, "KEYLEDGER_KAFKA_BOOTSTRAP": kafka.bootstrap}


def _of_commands(folder: Path, name: str, settings: Mapping[str, str], ceiling: float) -> list[Row]:
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
        for processes, connections in ((1, 32), (2, 32), (2, 64)):
            what = f"{name}: keys created/s, command processes: {processes}, connections: {connections}"
            rows.append(_row(what, dict(served[:processes]), tokens, ceiling, connections))
    return rows


def _embedded(folder: Path, ceiling: float) -> list[Row]:
    with _served(folder, "serve", tool_command("serve"), {}) as (port, process):
        tokens = _callers(port, folder / "data")
        what = "one process, all services (`keyledger serve`): keys created/s, 32 connections"
        return [_row(what, {port: process}, tokens, ceiling, 32)]


def _row(
    what: str, served: Mapping[int, Process], tokens: Sequence[str], ceiling: float | None, connections: int
) -> Row:
    requests = _requests(tokens)
    ask(list(served), requests, connections=connections, seconds=SECONDS / 4, status=201)
    before = sum(_cpu_seconds(process.pid) for process in served.values())
    load = ask(list(served), requests, connections=connections, seconds=SECONDS, status=201)
    cpu = (sum(_cpu_seconds(process.pid) for process in served.values()) - before) / len(load.latencies) * 1e6
    p50, p99 = (quantile(load.latencies, share) * 1e3 for share in (0.5, 0.99))
    note = f"p50 {p50:.1f}, p99 {p99:.1f} ms; {cpu:.0f} us of these processes each"
    return Row(what, load.rate, None if ceiling is None else load.rate / ceiling, note)


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


def _cpu_seconds(process: int) -> float:
    """Return what a process has had of the processors so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
