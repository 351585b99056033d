"""Which generations of its read models a SQL database holds, and how far each is."""

from typing import Any, Final

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Table,
    Text,
    and_,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, Generation, State


class Held(Struct, frozen=True):
    """A generation that a database holds."""

    generation: Generation
    state: State
    checkpoint: Checkpoint


def generation_columns() -> tuple[Column[Any], ...]:
    """Return the columns, first in each table's primary key, that say whose a row is."""
    return (
        Column("name", Text, primary_key=True),
        Column("generation", Integer, primary_key=True, autoincrement=False),
        Column("build", Integer, primary_key=True, autoincrement=False),
    )


def key_of(name: str, generation: Generation) -> dict[str, Any]:
    """Return the values of these columns for a generation of a read model."""
    return {"name": name, "generation": generation.number, "build": generation.build}


def is_of(table: Table, name: str, generation: Generation) -> ColumnElement[bool]:
    """Return the condition that a row is this generation's."""
    return and_(*(table.c[column] == value for column, value in key_of(name, generation).items()))


def generations_table(metadata: MetaData) -> Table:
    """Return the table in which the read models of a database keep which generations there are, and how far."""
    return Table(
        "projection_generations",
        metadata,
        *generation_columns(),
        Column("state", Text, nullable=False),
        Column("store", Text, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        Column("next_offset", BigInteger, nullable=False),
    )


async def held(connection: AsyncConnection, table: Table, name: str) -> list[Held]:
    """Return the generations of a read model, the oldest first."""
    rows = (await connection.execute(select(table).where(table.c.name == name))).mappings()
    return sorted((_held(row) for row in rows), key=lambda one: one.generation)


def _held(row: RowMapping) -> Held:
    return Held(Generation(row["generation"], row["build"]), row["state"], _checkpoint(row))


def _checkpoint(row: RowMapping) -> Checkpoint:
    return Checkpoint(row["store"], row["position"], bytes(row["hash"]), row["next_offset"])


class CheckpointRow:
    """One generation of one read model: its state, and its checkpoint."""

    def __init__(self, table: Table, *, name: str, generation: Generation) -> None:
        self._table, self._name, self._generation = table, name, generation
        self._mine: Final = is_of(table, name, generation)

    async def make(self, connection: AsyncConnection, state: State) -> None:
        """Begin it before the first position."""
        key = key_of(self._name, self._generation)
        await connection.execute(insert(self._table).values(**key, state=state, **_values(Checkpoint())))

    async def set_state(self, connection: AsyncConnection, state: State) -> None:
        """Say what it is for.

        Raises:
            CheckpointMoved: it is gone.
        """
        changed = await connection.execute(update(self._table).where(self._mine).values(state=state))
        if changed.rowcount != 1:
            raise self._gone()

    async def remove(self, connection: AsyncConnection) -> None:
        """Fence it: whoever still writes it is refused."""
        await connection.execute(delete(self._table).where(self._mine))

    async def read(self, connection: AsyncConnection) -> Checkpoint:
        """Return how far this generation is.

        Raises:
            CheckpointMoved: it is gone, since another generation took its place.
        """
        found = (await connection.execute(select(self._table).where(self._mine))).mappings().one_or_none()
        if found is None:
            raise self._gone()
        return _checkpoint(found)

    async def move(self, connection: AsyncConnection, *, expected: Checkpoint, new: Checkpoint) -> None:
        """Set the checkpoint, and hold its row until the transaction ends: who comes later sees what we made of it.

        Raises:
            CheckpointMoved: it is not at ``expected``.
        """
        columns = self._table.c
        still = self._mine & (columns.position == expected.position) & (columns.hash == expected.hash)
        still &= columns.next_offset == expected.next_offset
        moved = await connection.execute(update(self._table).where(still).values(_values(new)))
        if moved.rowcount != 1:
            raise CheckpointMoved(f"{self._name} is no longer at position {expected.position}: another one writes it")

    def _gone(self) -> CheckpointMoved:
        return CheckpointMoved(f"{self._name} has no generation {self._generation} any more")


def _values(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "store": checkpoint.store,
        "position": checkpoint.position,
        "hash": checkpoint.hash,
        "next_offset": checkpoint.next_offset,
    }
