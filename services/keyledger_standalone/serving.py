"""``keyledger serve``: migrate, see to the topics and the first organization, then run everything in one process."""

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import structlog

from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import TOPICS
from keyledger.eventlog.port import EventLog, LogUnavailable
from keyledger.eventstore.migrating import migrate
from keyledger.runtime.masters import open_peppers
from keyledger.runtime.process import Process
from keyledger.runtime.serving import serve
from keyledger.runtime.settings import InvalidSettings
from keyledger_commands.bootstrap import FILE_NAME, bootstrap
from keyledger_standalone.build import build

PRUNE_SECONDS = 3600.0

log = structlog.get_logger(__name__)


async def serve_standalone(process: Process) -> int:
    """Serve until told to stop, and return the exit code."""
    process.settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone_in(process.settings.data_dir):
        return await _serve_alone(process)


async def _serve_alone(process: Process) -> int:
    settings = process.settings
    peppers = open_peppers(settings)
    await migrate(settings.ledger_url)
    async with process.ledger() as ledger, process.event_log() as event_log:
        await event_log.ensure_topics(TOPICS)
        made_now = await bootstrap(ledger, peppers, process.randomness, process.clock, settings.data_dir)
        async with process.verifier_node(event_log, peppers) as node, _pruning(event_log, process.clock):
            service = build(process, ledger, event_log, node, peppers=peppers)

            async def say_ready() -> None:
                _say_ready(f"http://{settings.host}:{settings.port}", settings.data_dir / FILE_NAME, made_now)

            return await serve(service, settings, registry=process.registry, when_ready=say_ready)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the data folder, as long as the process lives: two that write the same read models would end each other."""
    descriptor = os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidSettings(f"KEYLEDGER_DATA_DIR: another `keyledger serve` runs in {folder}") from None
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def _pruning(event_log: EventLog, clock: Clock) -> AsyncIterator[None]:
    """Let the embedded log forget what its topics need not keep; Kafka does so itself."""
    prune = getattr(event_log, "prune", None)
    if prune is None:
        yield
        return
    task = asyncio.create_task(prune_for_ever(prune, clock), name="log-pruning")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def prune_for_ever(prune: Callable[[], Awaitable[int]], clock: Clock) -> NoReturn:
    """Prune now and every hour. A log that cannot be written now is pruned the next time."""
    while True:
        try:
            await prune()
        except LogUnavailable as error:
            log.warning("the log is not pruned", error=str(error))
        await clock.sleep(PRUNE_SECONDS)


def _say_ready(origin: str, root_key: Path, made_now: Path | None) -> None:
    lines = [f"Keyledger is ready at {origin}"]
    if made_now is not None:
        lines.append(f"The root key, an administrator's, is in {root_key}")
        if sys.stdout.isatty():
            lines.append(f"  {root_key.read_text(encoding='ascii').strip()}")
    if root_key.exists():
        lines += ["Try it:", *(f"  {line}" for line in first_steps(origin, root_key))]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def first_steps(origin: str, root_key: Path) -> tuple[str, str, str, str]:
    """Return four lines for a shell: read the root key, make a key, verify it, list keys."""
    keys = f"{origin}/v1/api-keys"
    take = """python3 -c 'import json, sys; print(json.load(sys.stdin)["key"])'"""
    make = f"""-H "Content-Type: application/json" -d '{{"name": "my first key"}}' | {take}"""
    return (
        f'ROOT=$(cat "{root_key}")',
        f'KEY=$(curl -s {keys} -H "Authorization: Bearer $ROOT" {make})',
        f'curl -s {origin}/v1/auth/verify -H "Authorization: Bearer $KEY"',
        f'curl -s {keys} -H "Authorization: Bearer $ROOT"',
    )
