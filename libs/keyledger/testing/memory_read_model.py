"""A read model in memory, for tests of folds and of the runner. It passes the same suite as the real ones."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Generic

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, Parked, ReadModel, ReadModelUnavailable, Row, Versioned


class MemoryReadModel(Generic[Row]):
    """Rows and checkpoint of one process. Set ``unavailable`` to have it behave like a lost database.

    ``built``: the generation that is to take its place.
    """

    def __init__(self) -> None:
        self.unavailable = False
        self.rows: dict[str, Versioned[Row]] = {}
        self.committed = Checkpoint()
        self.marks: dict[str, Parked] = {}
        self.retry_requests: set[str] = set()
        self.built: MemoryReadModel[Row] | None = None

    async def checkpoint(self) -> Checkpoint:
        self._must_be_there()
        return self.committed

    async def parked(self) -> dict[str, Parked]:
        self._must_be_there()
        return dict(self.marks)

    async def request_retry(self, streams: Collection[str]) -> None:
        self.retry_requests.update(streams)

    async def take_retry_requests(self) -> frozenset[str]:
        taken, self.retry_requests = frozenset(self.retry_requests), set()
        return taken

    async def successor(self) -> "MemoryReadModel[Row] | None":
        return self.built

    async def switch(self, successor: ReadModel[Row]) -> None:
        if not isinstance(successor, MemoryReadModel):
            raise TypeError(f"{successor} is not in memory")
        self.rows, self.committed, self.marks = successor.rows, successor.committed, successor.marks
        self.built = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryRows[Row]"]:
        self._must_be_there()
        open_rows = MemoryRows(self.rows, self.committed, self.marks)
        yield open_rows
        self._must_be_there()
        self.rows, self.committed, self.marks = open_rows.rows, open_rows.checkpoint, open_rows.marks

    def _must_be_there(self) -> None:
        if self.unavailable:
            raise ReadModelUnavailable("set to be unavailable")


class MemoryRows(Generic[Row]):
    """One open transaction: a copy that replaces the read model's contents on commit."""

    def __init__(self, rows: Mapping[str, Versioned[Row]], checkpoint: Checkpoint, marks: Mapping[str, Parked]) -> None:
        self.rows, self.checkpoint, self.marks = dict(rows), checkpoint, dict(marks)

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[Row]]:
        return {stream: self.rows[stream] for stream in streams if stream in self.rows}

    async def save(self, changed: Mapping[str, Versioned[Row]]) -> None:
        self.rows.update(changed)

    async def park(self, parked: Collection[Parked]) -> None:
        self.marks.update((one.stream, one) for one in parked)

    async def release(self, streams: Collection[str]) -> None:
        for stream in streams:
            self.marks.pop(stream, None)

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        if self.checkpoint != expected:
            raise CheckpointMoved(f"it is at position {self.checkpoint.position}, not {expected.position}")
        self.checkpoint = new
