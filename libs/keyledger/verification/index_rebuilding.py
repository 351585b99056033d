"""A node's verification index, as an operator sees it from another process of its machine."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import lmdb

from keyledger.contracts.ports import Clock
from keyledger.eventlog.port import EventLog
from keyledger.projections.generations import generation_to_build
from keyledger.projections.port import Generation, Parked, State
from keyledger.projections.rebuilding import Built, Line, NotNow, Status, ledger_head
from keyledger.projections.runner import ProjectionRunner
from keyledger.verification.index import LmdbIndex, build_generation, read_generation
from keyledger.verification.index_files import IndexFiles
from keyledger.verification.index_rows import lines_in
from keyledger.verification.projector import VerificationProjection


class IndexRebuildable:
    """The index in a folder (``Rebuildable``), under the name ``verification@<node>``."""

    def __init__(self, folder: Path, *, node: str, size_mb: int, log: EventLog, clock: Clock) -> None:
        self.name, self.place = f"{VerificationProjection.name}@{node}", f"lmdb {folder}"
        self.number: Final = VerificationProjection.generation
        self._files, self._size_mb = IndexFiles(folder), size_mb
        self._log, self._clock = log, clock
        self._open: dict[Generation, LmdbIndex] = {}

    async def close(self) -> None:
        """Nothing stays open."""

    async def head(self) -> int:
        return await ledger_head(self._log)

    async def statuses(self) -> list[Status]:
        found = []
        for generation in self._files.held():
            with suppress(lmdb.Error), self._reading(generation) as index:  # it may be deleted just now
                parked = await index.parked()
                found.append(Status(generation, self._state(generation), index.applied().position, len(parked)))
        return found

    @contextmanager
    def _reading(self, generation: Generation) -> Iterator[LmdbIndex]:
        """Give a generation, open: LMDB forbids a process to have the same one open twice."""
        if generation in self._open:
            yield self._open[generation]
            return
        with closing(read_generation(self._files, generation, size_mb=self._size_mb)) as index:
            self._open[generation] = index
            try:
                yield index
            finally:
                del self._open[generation]

    def _state(self, generation: Generation) -> State:
        if generation == self._files.serving():
            return "serving"
        return "offered" if generation == self._files.offered() else "building"

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Built]:
        self._files.withdraw()
        generation = generation_to_build(self._files.held(), self._files.serving(), self.number)
        with closing(build_generation(self._files, generation, size_mb=self._size_mb)) as index:
            self._open[generation] = index
            try:
                yield _BuiltIndex(index, self._log, self._clock)
            finally:
                del self._open[generation]

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[tuple[int, AsyncIterator[Line]]]:
        with self._reading(self._serving()) as index, index.environment.begin() as transaction:
            yield index.checkpoint_in(transaction).position, _lines(transaction)

    async def offer(self, generation: Generation) -> None:
        self._files.offer(generation)

    async def discard(self) -> list[Generation]:
        self._files.withdraw()
        unused = [one for one in self._files.held() if one != self._files.serving()]
        for generation in unused:
            self._files.remove(generation)
        return unused

    async def parked(self) -> dict[str, Parked]:
        if not await self.statuses():
            return {}
        with self._reading(self._serving()) as index:
            return await index.parked()

    async def request_retry(self, streams: Collection[str]) -> None:
        with self._reading(self._serving()) as index:
            await index.request_retry(streams)

    def _serving(self) -> Generation:
        serving = self._files.serving()
        if serving is None:
            raise NotNow(f"{self.name}: nothing serves yet")
        return serving


class _BuiltIndex:
    def __init__(self, index: LmdbIndex, log: EventLog, clock: Clock) -> None:
        self._index, self.generation = index, index.generation
        self._runner = ProjectionRunner(VerificationProjection(), index, log, clock=clock)

    async def position(self) -> int:
        return self._index.applied().position

    async def reach(self, position: int) -> None:
        await self._runner.reach(position)

    async def lines(self) -> AsyncIterator[Line]:
        with self._index.environment.begin() as transaction:
            async for line in _lines(transaction):
                yield line


async def _lines(transaction: lmdb.Transaction) -> AsyncIterator[Line]:
    for line in lines_in(transaction):
        yield line
