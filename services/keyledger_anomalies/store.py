"""The alerts' read model and the offsets of its readers, in one database: SQLite or Postgres.

Droppable: everything in it is filled again from ``keyledger.alerts.v1``.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    and_,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from keyledger.contracts import failpoints
from keyledger.contracts.alert import Alert
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, Generation, Parked, ReadModel, Versioned
from keyledger.projections.sql import insert_into, make_schema, reading, writing
from keyledger.projections.sql_read_model import SqlReadModel

METADATA: Final = MetaData()

CURSORS: Final = Table(
    "cursors",
    METADATA,
    Column("name", String, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)

NAME: Final = "alerts"
GENERATION: Final = 1
"""Raise it whenever what is stored of an alert changes: the read model is then built anew."""
PREFIX: Final = "alerts_"


class Place(Struct, frozen=True):
    """Where a page ends: the last alert's ``last_seen`` (microseconds) and id."""

    last_seen: int
    id: str


async def create_tables(engine: AsyncEngine, tables: Sequence[Table]) -> None:
    """Create what is missing, and on Postgres the schema for it. Raises ReadModelUnavailable."""
    async with writing(engine) as connection:
        await make_schema(connection, engine)
        await connection.run_sync(METADATA.create_all, tables=tables)


async def next_offset(connection: AsyncConnection, name: str) -> int:
    """Return the offset that the reader ``name`` reads next; 0 for a new one."""
    found = await connection.scalar(select(CURSORS.c.next_offset).where(CURSORS.c.name == name))
    return found or 0


async def move_cursor(connection: AsyncConnection, name: str, *, expected: int, new: int) -> None:
    """Set the reader's next offset in the caller's transaction. Raises CheckpointMoved if it is not at ``expected``."""
    table = CURSORS.c
    await connection.execute(insert_into(connection, CURSORS).values(name=name, next_offset=0).on_conflict_do_nothing())
    moved = await connection.execute(
        update(CURSORS).where(table.name == name, table.next_offset == expected).values(next_offset=new)
    )
    if moved.rowcount != 1:
        actual = await next_offset(connection, name)
        raise CheckpointMoved(f"cursor {name}: expected next offset {expected}, found {actual}")


class AlertsTable:
    """The alerts of one generation: its table, and how alerts get there and back (``RowTable[Alert]``)."""

    def __init__(self, generation: Generation) -> None:
        name = f"{PREFIX}{generation.number}_{generation.build}"
        self.table: Final = Table(
            name,
            MetaData(),
            Column("id", String, primary_key=True),
            Column("rule", String, nullable=False),
            Column("severity", String, nullable=False),
            Column("title", Text, nullable=False),
            Column("organization_id", String, nullable=True),
            Column("subject", Text, nullable=False),
            Column("first_seen", BigInteger, nullable=False),
            Column("last_seen", BigInteger, nullable=False),
            Column("count", Integer, nullable=False),
            Column("attempt_ids", Text, nullable=False),
            Index(f"{name}_newest_first", "organization_id", "last_seen", "id"),
        )
        self.tables: Final = (self.table,)

    async def load(self, connection: AsyncConnection, streams: Collection[str]) -> dict[str, Versioned[Alert]]:
        found = await connection.execute(select(self.table).where(self.table.c.id.in_(streams)))
        return {row["id"]: Versioned(1, _alert(row)) for row in found.mappings()}

    async def save(self, connection: AsyncConnection, changed: Mapping[str, Versioned[Alert]]) -> None:
        # An alert is equal to the byte however often it is said: what is there stays.
        rows = [_row(one.row) for one in changed.values() if one.row is not None]
        await connection.execute(insert_into(connection, self.table).on_conflict_do_nothing(), rows)


class AlertStore(SqlReadModel[Alert, AlertsTable]):
    """Alerts by id, each stored once however often it is delivered. Every method may raise ReadModelUnavailable."""

    def __init__(self, engine: AsyncEngine, *, generation: int = GENERATION) -> None:
        super().__init__(engine, name=NAME, number=generation, prefix=PREFIX, rows=AlertsTable)

    async def next_offset(self) -> int:
        """Return the offset of the alerts topic that is read next."""
        return (await self.checkpoint()).next_offset

    async def store(self, alerts: Sequence[Alert], *, expected: int, new: int) -> list[Alert]:
        """Do what ``store`` does, in the generation that is read."""
        return await store(self.current, alerts, expected=expected, new=new)

    async def newest(
        self,
        *,
        organization_id: str,
        operator: bool,
        limit: int,
        after: Place | None = None,
        rule: str | None = None,
        since: int | None = None,
    ) -> list[Alert]:
        """Return an organization's alerts, newest first; the operator's organization also sees those of nobody.

        Args:
            organization_id: whose.
            operator: whether it is the operator's organization.
            limit: how many at most.
            after: the end of the page before.
            rule: only of this rule.
            since: only those seen at or after this time, in microseconds.
        """
        alerts = self.current.rows.table
        table = alerts.c
        own = table.organization_id == organization_id
        query = select(alerts).where(or_(own, table.organization_id.is_(None)) if operator else own)
        if rule is not None:
            query = query.where(table.rule == rule)
        if since is not None:
            query = query.where(table.last_seen >= since)
        if after is not None:
            earlier = table.last_seen < after.last_seen
            query = query.where(or_(earlier, and_(table.last_seen == after.last_seen, table.id < after.id)))
        async with reading(self.engine) as connection:
            rows = await connection.execute(query.order_by(table.last_seen.desc(), table.id.desc()).limit(limit))
            return [_alert(row) for row in rows.mappings()]


async def store(
    model: ReadModel[Alert], alerts: Sequence[Alert], *, expected: int, new: int, parked: Collection[Parked] = ()
) -> list[Alert]:
    """Store what is new and move the offset from ``expected`` to ``new``, in one transaction.

    Returns:
        The alerts that were not there before, in their order.

    Raises:
        CheckpointMoved: another process reads for this store; nothing was written.
        ReadModelUnavailable
    """
    async with model.transaction() as rows:
        await rows.move_checkpoint(expected=at(expected), new=at(new))
        failpoints.reach("projection.before_rows")
        known = await rows.load([alert.id for alert in alerts])
        fresh = {alert.id: alert for alert in alerts if alert.id not in known}
        await rows.release(fresh)
        await rows.save({alert_id: Versioned(1, alert) for alert_id, alert in fresh.items()})
        if parked:
            await rows.park(parked)
        failpoints.reach("projection.before_commit")
    failpoints.reach("projection.after_commit")
    return list(fresh.values())


def at(offset: int) -> Checkpoint:
    """Return the checkpoint of who reads this offset of the alerts topic next."""
    return Checkpoint(position=offset, next_offset=offset)


def _row(alert: Alert) -> dict[str, object]:
    row = msgspec.structs.asdict(alert)
    return {**row, "attempt_ids": msgspec.json.encode(alert.attempt_ids).decode()}


def _alert(row: RowMapping) -> Alert:
    return Alert(**{**row, "attempt_ids": tuple(msgspec.json.decode(row["attempt_ids"]))})
