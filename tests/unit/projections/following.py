"""A runner on a log and a read model in memory, with a fold that shows what was folded and in which order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest

from keyledger.contracts.envelope import Fact
from keyledger.contracts.topics import LEDGER
from keyledger.eventlog.port import EventLog, NewRecord, Record
from keyledger.projections.port import ReadModel
from keyledger.projections.runner import ProjectionRunner
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_log import MemoryLog

DEADLINE_SECONDS = 120.0


class Positions:
    """Folds each key into the positions of its events; what was folded twice stands there twice."""

    name = "positions"
    generation = 1

    def __init__(self, *, refuses: int | None = None) -> None:
        self._refuses = refuses

    def wants(self, stream: str) -> bool:
        return stream.startswith("key_")

    def project(self, row: tuple[int, ...] | None, fact: Fact) -> tuple[int, ...]:
        if fact.header.position == self._refuses:
            raise ValueError("cannot be")
        return (*(row or ()), fact.header.position)


async def log_of(*batches: Sequence[NewRecord]) -> MemoryLog:
    log = MemoryLog()
    await log.ensure_topics([LEDGER])
    for batch in batches:
        await log.append(LEDGER.name, 0, batch)
    return log


def runner_of(log: EventLog, model: ReadModel[Any], **more: Any) -> ProjectionRunner[Any]:
    projection = more.pop("projection", Positions())
    return ProjectionRunner(projection, model, log, clock=SystemClock(), **more)


class Runs(Protocol):
    """What goes on until it is cancelled: a projection's runner, or the alerts' projector."""

    async def run(self) -> None: ...


@asynccontextmanager
async def running(runner: Runs) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def follow_to(position: int, runner: ProjectionRunner[Any]) -> None:
    """Run until the position is committed, then stop."""
    async with running(runner) as task:
        reached = asyncio.create_task(runner.wait_for(position, timeout_seconds=DEADLINE_SECONDS))
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        assert await reached, f"stands at {runner.position}, not at {position}"


async def stop_of(runner: ProjectionRunner[Any], kind: type[Exception]) -> Any:
    """Run until it stops by itself, and return why."""
    with pytest.raises(kind) as stopped:
        await asyncio.wait_for(runner.run(), DEADLINE_SECONDS)
    return stopped.value


async def until(condition: Callable[[], bool], task: asyncio.Task[Any]) -> None:
    """Return once it holds; at once when the runner has ended."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.wait({task}, timeout=0.001)
            if task.done():
                task.result()
                assert condition(), "it ended before"


class EventsComeMeanwhile(MemoryLog):
    """When what is old is read again, ``meanwhile`` happens before its reader gets it, once."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def read(self, topic: str, partition: int, offset: int, max_records: int) -> list[Record]:
        found = await super().read(topic, partition, offset, max_records)
        if self.meanwhile is not None and offset < len(self.held(topic, partition)) - 1:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return found
