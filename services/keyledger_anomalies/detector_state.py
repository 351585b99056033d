"""What the embedded loop's detector remembers: its entries and the next offset of each partition."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import Column, LargeBinary, String, Table, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from keyledger.projections.sql import insert_into, reading, writing
from keyledger_anomalies.store import CURSORS, METADATA, create_tables, move_cursor, next_offset

ENTRIES: Final = Table(
    "detector_entries",
    METADATA,
    Column("key", String, primary_key=True),
    Column("entry", LargeBinary, nullable=False),
)


class DetectorState:
    """Entries and offsets, changed together or not at all. Every method may raise ReadModelUnavailable."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def prepare(self) -> None:
        """Make the tables that are missing. Raises ReadModelUnavailable."""
        await create_tables(self._engine, [CURSORS, ENTRIES])

    async def load(self, partition: int) -> tuple[int, dict[str, bytes]]:
        """Return the partition's next offset and its entries."""
        async with reading(self._engine) as connection:
            rows = await connection.execute(select(ENTRIES).where(ENTRIES.c.key.startswith(f"{partition}/")))
            entries = {str(key): bytes(entry) for key, entry in rows}
            return await next_offset(connection, _cursor(partition)), entries

    async def commit(
        self, partition: int, *, expected: int, new: int, changed: Mapping[str, bytes], forgotten: Collection[str] = ()
    ) -> None:
        """Write the entries and the next offset in one transaction. Raises CheckpointMoved: nothing was written."""
        async with writing(self._engine) as connection:
            await move_cursor(connection, _cursor(partition), expected=expected, new=new)
            if changed:
                insert = insert_into(connection, ENTRIES)
                write = insert.on_conflict_do_update(index_elements=["key"], set_={"entry": insert.excluded.entry})
                await connection.execute(write, [{"key": key, "entry": entry} for key, entry in changed.items()])
            for key in forgotten:
                await connection.execute(delete(ENTRIES).where(ENTRIES.c.key == key))


def _cursor(partition: int) -> str:
    return f"detector/{partition}"
