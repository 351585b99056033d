"""The parked streams of the read models of a SQL database."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Table, Text, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from keyledger.projections.port import Generation, Parked
from keyledger.projections.sql import insert_into
from keyledger.projections.sql_checkpoints import generation_columns, is_of, key_of

_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Parked))


def parked_table(metadata: MetaData) -> Table:
    """Return the table in which each read model of a database keeps which streams wait."""
    return Table(
        "projection_parked",
        metadata,
        *generation_columns(),
        Column("stream", Text, primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("version", Integer, nullable=False),
        Column("type", Text, nullable=False),
        Column("recorded_at", BigInteger, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("reason", Text, nullable=False),
        Column("waiting", BigInteger, nullable=False),
        Column("tries", Integer, nullable=False),
        Column("retry_requested", Boolean, nullable=False),
    )


class ParkedRows:
    """The parked streams of one generation of one read model."""

    def __init__(self, table: Table, *, name: str, generation: Generation) -> None:
        self._table = table
        self._key: Mapping[str, Any] = key_of(name, generation)
        self._mine = is_of(table, name, generation)

    async def read(self, connection: AsyncConnection) -> dict[str, Parked]:
        """Return the marks by stream."""
        found = await connection.execute(select(*(self._table.c[name] for name in _FIELDS)).where(self._mine))
        return {row["stream"]: Parked(**row) for row in found.mappings()}

    async def put(self, connection: AsyncConnection, parked: Collection[Parked]) -> None:
        """Keep the marks in the place of earlier ones. A request for another try ends with it."""
        insert = insert_into(connection, self._table)
        keys = (*self._key, "stream")
        fresh = {column.name: insert.excluded[column.name] for column in self._table.c if column.name not in keys}
        values = [{**self._key, "retry_requested": False, **msgspec.structs.asdict(one)} for one in parked]
        await connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=fresh), values)

    async def remove(self, connection: AsyncConnection, streams: Collection[str]) -> None:
        """Forget the marks of these streams."""
        if not streams:
            return
        await connection.execute(delete(self._table).where(self._mine & self._table.c.stream.in_(streams)))

    async def remove_all(self, connection: AsyncConnection) -> None:
        """Forget all marks of this generation."""
        await connection.execute(delete(self._table).where(self._mine))

    async def request_retry(self, connection: AsyncConnection, streams: Collection[str]) -> None:
        """Ask the runner to fold these streams again."""
        asked = update(self._table).where(self._mine & self._table.c.stream.in_(streams))
        await connection.execute(asked.values(retry_requested=True))

    async def take_retry_requests(self, connection: AsyncConnection) -> frozenset[str]:
        """Return the streams that were asked for, and forget that they were."""
        taken = update(self._table).where(self._mine & self._table.c.retry_requested).values(retry_requested=False)
        return frozenset((await connection.execute(taken.returning(self._table.c.stream))).scalars())
