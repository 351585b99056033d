"""A read model in a SQL database, in generations: each has rows, a checkpoint and marks of its own."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Connection, MetaData, Table, collate, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from keyledger.projections.generations import generation_to_build, own_generation
from keyledger.projections.port import (
    Checkpoint,
    Generation,
    Parked,
    ReadModel,
    ReadModelUnavailable,
    Row,
    State,
    Versioned,
)
from keyledger.projections.sql import make_schema, reading, schema_of, unavailable_if_passing, writing
from keyledger.projections.sql_checkpoints import CheckpointRow, Held, generations_table, held
from keyledger.projections.sql_parked import ParkedRows, parked_table

_METADATA: Final = MetaData()
_GENERATIONS: Final = generations_table(_METADATA)
_PARKED: Final = parked_table(_METADATA)
_LINES_AT_ONCE: Final = 1_000


RowsOf = TypeVar("RowsOf", bound="RowTable[Any]")


class NewerGeneration(Exception):
    """The database serves a generation of this read model that is newer than this program: it must not be replaced."""

    def __init__(self, name: str, *, ours: int, found: int) -> None:
        super().__init__(f"{name} is at generation {found}, this program knows {ours}: start the newer program")


class RowTable(Protocol[Row]):
    """The rows of one generation, in one table or several."""

    @property
    def tables(self) -> Sequence[Table]:
        """The tables themselves. The first primary key column of each is the stream.

        In the order of streams: all of one table's come before those of the next.
        """
        ...

    async def load(self, connection: AsyncConnection, streams: Collection[str]) -> dict[str, Versioned[Row]]:
        """Return the rows that exist."""
        ...

    async def save(self, connection: AsyncConnection, changed: Mapping[str, Versioned[Row]]) -> None:
        """Put these rows in the place of what is there."""
        ...


class SqlGeneration(Generic[Row, RowsOf]):
    """One generation, as the runner's read model."""

    def __init__(self, engine: AsyncEngine, name: str, generation: Generation, rows: RowsOf) -> None:
        self.engine, self.generation, self.rows = engine, generation, rows
        self.checkpoint_row = CheckpointRow(_GENERATIONS, name=name, generation=generation)
        self.parked_rows = ParkedRows(_PARKED, name=name, generation=generation)

    async def checkpoint(self) -> Checkpoint:
        async with reading(self.engine) as connection:
            return await self.checkpoint_row.read(connection)

    async def parked(self) -> dict[str, Parked]:
        async with reading(self.engine) as connection:
            return await self.parked_rows.read(connection)

    async def request_retry(self, streams: Collection[str]) -> None:
        async with writing(self.engine) as connection:
            await self.parked_rows.request_retry(connection, streams)

    async def take_retry_requests(self) -> frozenset[str]:
        async with writing(self.engine) as connection:
            return await self.parked_rows.take_retry_requests(connection)

    async def successor(self) -> ReadModel[Row] | None:
        return None

    async def switch(self, successor: ReadModel[Row]) -> None:
        raise NotImplementedError(f"one generation is not switched to {successor}: its read model is")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["SqlRows[Row]"]:
        async with writing(self.engine) as connection:
            yield SqlRows(connection, self)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[tuple[Checkpoint, AsyncIterator[tuple[Any, ...]]]]:
        """Give the checkpoint and the rows of one moment, ordered by stream (the first of each), while others write."""
        with unavailable_if_passing():
            async with self.engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                yield await self.checkpoint_row.read(connection), self._lines(connection)

    async def _lines(self, connection: AsyncConnection) -> AsyncIterator[tuple[Any, ...]]:
        for table in self.rows.tables:
            stream = table.primary_key.columns[0]
            in_bytes = collate(stream, "C" if connection.dialect.name == "postgresql" else "BINARY")
            found = await connection.stream(
                select(table).order_by(in_bytes), execution_options={"yield_per": _LINES_AT_ONCE}
            )
            async for row in found:
                yield tuple(row)


class SqlRows(Generic[Row]):
    """One open transaction (``Rows[Row]``)."""

    def __init__(self, connection: AsyncConnection, of: SqlGeneration[Row, Any]) -> None:
        self._connection, self._of = connection, of

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[Row]]:
        return await self._of.rows.load(self._connection, streams) if streams else {}

    async def save(self, changed: Mapping[str, Versioned[Row]]) -> None:
        if changed:
            await self._of.rows.save(self._connection, changed)

    async def park(self, parked: Collection[Parked]) -> None:
        await self._of.parked_rows.put(self._connection, parked)

    async def release(self, streams: Collection[str]) -> None:
        await self._of.parked_rows.remove(self._connection, streams)

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        await self._of.checkpoint_row.move(self._connection, expected=expected, new=new)


class SqlReadModel(Generic[Row, RowsOf]):
    """A read model and its generations (``ReadModel[Row]``); ``prepare`` it first. ``number``: the program's own.

    ``rows`` makes the tables of a generation, whose names must begin with ``prefix``. ``before`` is how far the one was
    that this program's is built beside: up to there, the world outside was told already.
    """

    def __init__(
        self, engine: AsyncEngine, *, name: str, number: int, prefix: str, rows: Callable[[Generation], RowsOf]
    ) -> None:
        self.name, self.number = name, number
        self.engine, self._prefix, self._rows = engine, prefix, rows
        self._current: SqlGeneration[Row, RowsOf] | None = None
        self.before = Checkpoint()
        self._left_over = False

    @property
    def current(self) -> SqlGeneration[Row, RowsOf]:
        """The generation that is read, and written. Raises ReadModelUnavailable before ``prepare`` has chosen it."""
        if self._current is None:
            raise ReadModelUnavailable(f"{self.name} waits for its database")
        return self._current

    async def prepare(self) -> None:
        """Make schema and tables where they are missing, and choose the generation of this program.

        Where another one serves, of an older program, this one's is built beside it.

        Raises:
            ReadModelUnavailable
            NewerGeneration: what serves is newer than this program.
        """
        async with writing(self.engine) as connection:
            await self._make_tables(connection)
            found = await held(connection, _GENERATIONS, self.name)
            serving = _serving(found)
            if serving is not None and serving.generation.number > self.number:
                raise NewerGeneration(self.name, ours=self.number, found=serving.generation.number)
            generations = [one.generation for one in found]
            own = own_generation(generations, None if serving is None else serving.generation, self.number)
            if own in generations:
                self._current = self.opened(own)
            else:
                self._current = await self._make(connection, own, "building" if serving else "serving")
            if serving is not None and serving.generation != own:
                self.before = serving.checkpoint
            await self._drop_left_over(connection)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    async def checkpoint(self) -> Checkpoint:
        return await self.current.checkpoint()

    async def parked(self) -> dict[str, Parked]:
        return await self.current.parked()

    async def request_retry(self, streams: Collection[str]) -> None:
        await self.current.request_retry(streams)

    async def take_retry_requests(self) -> frozenset[str]:
        return await self.current.take_retry_requests()

    def transaction(self) -> Any:
        return self.current.transaction()

    async def successor(self) -> SqlGeneration[Row, RowsOf] | None:
        async with reading(self.engine) as connection:
            found = {one.generation: one for one in await held(connection, _GENERATIONS, self.name)}
        mine, serving = found.get(self.current.generation), _serving(found.values())
        if mine is None or serving is None:
            return None  # the next batch is refused
        if mine is not serving:
            if mine.checkpoint.position >= serving.checkpoint.position:
                await self._switch(serving.generation, self.current)
            return None
        if self._left_over:
            # Not at the switch: a question that was begun before it may still be read.
            async with writing(self.engine) as connection:
                await self._drop_left_over(connection)
        offered = [one.generation for one in found.values() if one.state == "offered"]
        return self.opened(offered[-1]) if offered and offered[-1].number == self.number else None

    async def switch(self, successor: ReadModel[Row]) -> None:
        if not isinstance(successor, SqlGeneration):
            raise TypeError(f"{successor} is no generation of {self.name}")
        await self._switch(self.current.generation, successor)

    async def _switch(self, before: Generation, after: SqlGeneration[Row, RowsOf]) -> None:
        old = self.opened(before)
        async with writing(self.engine) as connection:
            await after.checkpoint_row.set_state(connection, "serving")
            await old.checkpoint_row.remove(connection)
            await old.parked_rows.remove_all(connection)
        self._current, self._left_over = after, True

    # What a rebuild needs, from whichever process.

    async def generations(self) -> list[Held]:
        """Return the generations that there are, the oldest first; none where nothing was made yet."""
        async with reading(self.engine) as connection:
            if not await connection.run_sync(_has_generations, schema_of(self.engine)):
                return []
            return await held(connection, _GENERATIONS, self.name)

    def opened(self, generation: Generation) -> SqlGeneration[Row, RowsOf]:
        """Return one of ``generations``."""
        return SqlGeneration(self.engine, self.name, generation, self._rows(generation))

    async def begin(self) -> SqlGeneration[Row, RowsOf]:
        """Return the generation that is being built, to go on with it; else a new one, made now."""
        async with writing(self.engine) as connection:
            found = await held(connection, _GENERATIONS, self.name)
            generations, serving = [one.generation for one in found], _serving(found)
            wanted = generation_to_build(generations, None if serving is None else serving.generation, self.number)
            if wanted not in generations:
                return await self._make(connection, wanted, "building")
            begun = self.opened(wanted)
            await begun.checkpoint_row.set_state(connection, "building")
            return begun

    async def offer(self, built: SqlGeneration[Row, RowsOf]) -> None:
        """Let it take the serving one's place, as soon as the process that serves looks."""
        async with writing(self.engine) as connection:
            await built.checkpoint_row.set_state(connection, "offered")

    async def discard(self, built: SqlGeneration[Row, RowsOf]) -> None:
        """Delete a generation that is not to serve."""
        async with writing(self.engine) as connection:
            await built.checkpoint_row.remove(connection)
            await built.parked_rows.remove_all(connection)
            await self._drop_left_over(connection)

    async def _make(
        self, connection: AsyncConnection, generation: Generation, state: State
    ) -> SqlGeneration[Row, RowsOf]:
        made = self.opened(generation)
        await made.checkpoint_row.make(connection, state)
        for table in made.rows.tables:
            await connection.run_sync(table.create, checkfirst=True)
        return made

    async def _make_tables(self, connection: AsyncConnection) -> None:
        await make_schema(connection, self.engine)
        await connection.run_sync(_METADATA.create_all, checkfirst=True)

    async def _drop_left_over(self, connection: AsyncConnection) -> None:
        found = await held(connection, _GENERATIONS, self.name)
        kept = {table.name for one in found for table in self._rows(one.generation).tables}
        tables = await connection.run_sync(_tables, schema_of(self.engine))
        for name in tables:
            if name.startswith(self._prefix) and name not in kept:
                await connection.run_sync(Table(name, MetaData()).drop)
        self._left_over = False


def _serving(found: Collection[Held]) -> Held | None:
    return next((one for one in found if one.state == "serving"), None)


def _tables(connection: Connection, schema: str | None) -> list[str]:
    return inspect(connection).get_table_names(schema)


def _has_generations(connection: Connection, schema: str | None) -> bool:
    return inspect(connection).has_table(_GENERATIONS.name, schema=schema)
