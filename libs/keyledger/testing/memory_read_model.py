"""A read model in memory, for tests of folds and of the runner. It passes the same suite as the real ones."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Generic

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, ReadModelUnavailable, Row, Versioned


class MemoryReadModel(Generic[Row]):
    """Rows and checkpoint of one process. Set ``unavailable`` to have it behave like a lost database."""

    def __init__(self) -> None:
        self.unavailable = False
        self.rows: dict[str, Versioned[Row]] = {}
        self.committed = Checkpoint()

    async def checkpoint(self) -> Checkpoint:
        self._must_be_there()
        return self.committed

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryRows[Row]"]:
        self._must_be_there()
        open_rows = MemoryRows(self.rows, self.committed)
        yield open_rows
        self._must_be_there()
        self.rows, self.committed = open_rows.rows, open_rows.checkpoint

    def _must_be_there(self) -> None:
        if self.unavailable:
            raise ReadModelUnavailable("set to be unavailable")


class MemoryRows(Generic[Row]):
    """One open transaction: a copy that replaces the read model's contents on commit."""

    def __init__(self, rows: Mapping[str, Versioned[Row]], checkpoint: Checkpoint) -> None:
        self.rows, self.checkpoint = dict(rows), checkpoint

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[Row]]:
        return {stream: self.rows[stream] for stream in streams if stream in self.rows}

    async def save(self, changed: Mapping[str, Versioned[Row]]) -> None:
        self.rows.update(changed)

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        if self.checkpoint != expected:
            raise CheckpointMoved(f"it is at position {self.checkpoint.position}, not {expected.position}")
        self.checkpoint = new
