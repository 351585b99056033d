"""Databases of read models and of the detector, whose commits may fail, hang, be in doubt or be torn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, Parked, ReadModel, ReadModelUnavailable
from keyledger.testing.memory_read_model import MemoryReadModel, MemoryRows
from keyledger_anomalies.detector_state import DetectorState
from tests.simulation.faults import World, give
from tests.simulation.loop import Process

T = TypeVar("T")
_TORN = 0.25


class ModelDatabase:
    """What stays of a read model when processes die. One transaction at a time, which ends with its process."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.kept: MemoryReadModel[Any] = MemoryReadModel()
        self.changed: list[Callable[[], None]] = []
        """Called after each change of what is kept."""
        self._holder: Process | None = None
        self._committing: Callable[[], None] | None = None
        self._queue: list[asyncio.Future[None]] = []

    async def lock(self, process: Process) -> None:
        """Wait for the write lock."""
        while self._holder is not None:
            waiter: asyncio.Future[None] = self.world.loop.create_future()
            self._queue.append(waiter)
            await waiter
        self._holder = process

    def committing(self, process: Process, keep: Callable[[], None]) -> Callable[[], None]:
        """Return ``keep`` as what happens at most once, and only while the process holds the lock."""

        def once() -> None:
            if self._holder is process and self._committing is once:
                self._committing = None
                keep()

        self._committing = once
        return once

    def unlock(self, process: Process) -> None:
        """End the process's transaction, and let the next one in. A commit under way comes to its end before that."""
        if self._holder is not process:
            return
        if self._committing is not None and self.world.chance(0.5):
            with suppress(ReadModelUnavailable):
                self._committing()
        self._holder = self._committing = None
        queue, self._queue = self._queue, []
        for waiter in queue:
            give(waiter)

    def tell(self) -> None:
        for told in self.changed:
            told()


class SimulatedReadModel:
    """One process's connection to a read model. ``torn``: rows may be kept without the checkpoint that goes with them.

    A torn commit is what a read model without one transaction over both would leave behind; the version guard is there
    for it. The other way round, a checkpoint without its rows, must never be.
    """

    def __init__(self, database: ModelDatabase, process: Process, *, torn: bool) -> None:
        self.database, self.process, self._torn = database, process, torn
        self.world = database.world
        process.at_death.append(lambda: database.unlock(process))

    async def checkpoint(self) -> Checkpoint:
        return await self.ask("checkpoint", lambda: self.database.kept.committed)

    async def parked(self) -> dict[str, Parked]:
        return await self.ask("parked", lambda: dict(self.database.kept.marks))

    async def request_retry(self, streams: Collection[str]) -> None:
        await self.ask("request_retry", lambda: self.database.kept.retry_requests.update(streams))

    async def take_retry_requests(self) -> frozenset[str]:
        def take() -> frozenset[str]:
            taken, self.database.kept.retry_requests = frozenset(self.database.kept.retry_requests), set()
            return taken

        return await self.ask("take_retry_requests", take)

    async def successor(self) -> None:
        """No generation is built beside this one."""
        await self.ask("successor", lambda: None)

    async def switch(self, successor: ReadModel[Any]) -> None:
        raise NotImplementedError(f"no schedule builds {successor}")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        await self.ask("begin", lambda: None)
        await self.database.lock(self.process)
        try:
            kept = self.database.kept
            rows: MemoryRows[Any] = MemoryRows(kept.rows, kept.committed, kept.marks)
            yield rows
            await self.commit(rows)
        finally:
            self.database.unlock(self.process)

    async def commit(self, rows: MemoryRows[Any]) -> None:
        """Have the rows and the checkpoint of an open transaction kept."""
        torn = self._torn and bool(self.world.odds.failure) and self.world.chance(_TORN)

        def keep() -> None:
            self.database.kept.rows = rows.rows
            if torn:
                self.world.happened["torn commit"] += 1
                self.database.tell()
                raise ReadModelUnavailable("the connection broke between the rows and the checkpoint")
            self.database.kept.committed, self.database.kept.marks = rows.checkpoint, rows.marks
            self.database.tell()

        await self.write("commit", keep, rows.checkpoint.position)

    async def ask(self, what: str, answer: Callable[[], T]) -> T:
        return await self.world.call(self.process, f"{self.database.name}.{what}", answer, ReadModelUnavailable)

    async def write(self, what: str, keep: Callable[[], None], detail: object) -> None:
        once = self.database.committing(self.process, keep)
        await self.world.call(
            self.process,
            f"{self.database.name}.{what}",
            once,
            ReadModelUnavailable,
            uncertain=ReadModelUnavailable,
            doubt=lambda: None,  # it comes to its end, this or that way, before the lock is free
            detail=detail,
        )


class DetectorDatabase:
    """What stays of the embedded detector's state."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.entries: dict[str, bytes] = {}


class SimulatedDetectorState(DetectorState):
    """One process's connection to it, with the promises of ``DetectorState``."""

    def __init__(self, database: DetectorDatabase, world: World, process: Process) -> None:
        self._database, self._world, self._process = database, world, process

    async def prepare(self) -> None: ...

    async def load(self, partition: int) -> tuple[int, dict[str, bytes]]:
        def load() -> tuple[int, dict[str, bytes]]:
            own = f"{partition}/"
            entries = {key: entry for key, entry in self._database.entries.items() if key.startswith(own)}
            return self._database.offsets.get(partition, 0), entries

        return await self._world.call(self._process, "state.load", load, ReadModelUnavailable, detail=partition)

    async def commit(
        self, partition: int, *, expected: int, new: int, changed: Mapping[str, bytes], forgotten: Collection[str] = ()
    ) -> None:
        changed = dict(changed)

        def commit() -> None:
            if self._database.offsets.get(partition, 0) != expected:
                raise CheckpointMoved(f"detector/{partition} is not at {expected}")
            self._database.offsets[partition] = new
            self._database.entries.update(changed)
            for key in forgotten:
                self._database.entries.pop(key, None)

        await self._world.call(
            self._process,
            "state.commit",
            commit,
            ReadModelUnavailable,
            uncertain=ReadModelUnavailable,
            doubt=commit if self._world.chance(0.5) else lambda: None,
            detail=f"{partition}: {expected} to {new}",
            local=True,
        )
