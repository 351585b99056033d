"""A read model in a SQL database, as an operator sees it from another process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from keyledger.projections.port import Generation, Parked
from keyledger.projections.rebuilding import Built, Line, NotNow, Status
from keyledger.projections.sql_read_model import SqlGeneration, SqlReadModel

Reach = Callable[[SqlGeneration[Any, Any], int], Awaitable[None]]
"""Folds the log into a generation, exactly up to a position."""


class SqlRebuildable:
    """One read model (``Rebuildable``). ``head`` returns the last position that the log holds for it."""

    def __init__(
        self, model: SqlReadModel[Any, Any], *, reach: Reach, head: Callable[[], Coroutine[Any, Any, int]]
    ) -> None:
        self.name, self.number, self.head = model.name, model.number, head
        self._model, self._reach = model, reach

    @property
    def place(self) -> str:
        url = self._model.engine.url
        return f"{url.get_backend_name()} {url.database}"

    async def close(self) -> None:
        """Close all connections."""
        await self._model.close()

    async def statuses(self) -> list[Status]:
        url = self._model.engine.url
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():  # noqa: ASYNC240 - one look
            return []  # to ask it would make the file
        found = []
        for one in await self._model.generations():
            parked = await self._model.opened(one.generation).parked()
            found.append(Status(one.generation, one.state, one.checkpoint.position, len(parked)))
        return found

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Built]:
        yield _SqlBuilt(await self._model.begin(), self._reach)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[tuple[int, AsyncIterator[Line]]]:
        async with (await self._serving()).snapshot() as (checkpoint, lines):
            yield checkpoint.position, _by_stream(lines)

    async def offer(self, generation: Generation) -> None:
        await self._model.offer(self._model.opened(generation))

    async def discard(self) -> list[Generation]:
        unused = [one.generation for one in await self._model.generations() if one.state != "serving"]
        for generation in unused:
            await self._model.discard(self._model.opened(generation))
        return unused

    async def parked(self) -> dict[str, Parked]:
        return await (await self._serving()).parked() if await self.statuses() else {}

    async def request_retry(self, streams: Collection[str]) -> None:
        await (await self._serving()).request_retry(streams)

    async def _serving(self) -> SqlGeneration[Any, Any]:
        for one in await self._model.generations():
            if one.state == "serving":
                return self._model.opened(one.generation)
        raise NotNow(f"{self.name}: nothing serves yet")


class _SqlBuilt:
    def __init__(self, built: SqlGeneration[Any, Any], reach: Reach) -> None:
        self._built, self._reach = built, reach
        self.generation = built.generation

    async def position(self) -> int:
        return (await self._built.checkpoint()).position

    async def reach(self, position: int) -> None:
        await self._reach(self._built, position)

    async def lines(self) -> AsyncIterator[Line]:
        async with self._built.snapshot() as (_, lines):
            async for line in _by_stream(lines):
                yield line


async def _by_stream(lines: AsyncIterator[tuple[Any, ...]]) -> AsyncIterator[Line]:
    async for stream, *rest in lines:
        yield stream, rest
