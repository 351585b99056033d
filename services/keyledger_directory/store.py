"""The directory's database: one table of keys, and the questions that are asked of it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct, structs
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    RowMapping,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from keyledger.domain.events import Environment, KeyType
from keyledger.projections.port import Generation, Versioned
from keyledger.projections.sql import reading
from keyledger.projections.sql_read_model import SqlReadModel
from keyledger_directory.projector import GENERATION, NAME, KeyRow

Status = Literal["active", "expired", "revoked"]

PREFIX: Final = "api_keys_"
_FIELDS: Final = structs.fields(KeyRow)


class KeysTable:
    """The keys of one generation: its table, and how rows get there and back (``RowTable[KeyRow]``)."""

    def __init__(self, generation: Generation) -> None:
        name = f"{PREFIX}{generation.number}_{generation.build}"
        self.table: Final = Table(name, MetaData(), *_columns())
        c = self.table.c
        # Each page is read along one index in the order of the answer. Revoked keys only ever grow in number, so they
        # have indexes of their own: a page of live keys must not walk over them.
        self.live: Final = c.revoked_at.is_(None)
        self.revoked: Final = c.revoked_at.is_not(None)
        live, revoked = self.live, self.revoked
        for suffix, columns, only in (
            ("live", (c.organization_id, c.created_position), live),
            ("live_by_owner", (c.organization_id, c.owner_id, c.created_position), live),
            ("live_by_role", (c.organization_id, c.role, c.created_position), live),
            ("live_by_type", (c.organization_id, c.type, c.created_position), live),
            ("live_by_environment", (c.organization_id, c.environment, c.created_position), live),
            ("live_by_expiry", (c.organization_id, c.expires_at), live & c.expires_at.is_not(None)),
            ("revoked", (c.organization_id, c.created_position), revoked),
            ("revoked_by_owner", (c.organization_id, c.owner_id, c.created_position), revoked),
        ):
            Index(f"{name}_{suffix}", *columns, postgresql_where=only, sqlite_where=only)
        self._loads: Final = {
            # One statement whatever the number of streams: each other text would be prepared and planned anew.
            "postgresql": select(self.table).where(c.id == any_(bindparam("streams", type_=postgresql.ARRAY(Text)))),
            "sqlite": select(self.table).where(c.id.in_(bindparam("streams", expanding=True))),
        }
        self._saves: Final = {
            "postgresql": _save(postgresql.insert(self.table), self.table),
            "sqlite": _save(sqlite.insert(self.table), self.table),
        }

    async def load(self, connection: AsyncConnection, streams: Collection[str]) -> dict[str, Versioned[KeyRow]]:
        found = await connection.execute(self._loads[connection.dialect.name], {"streams": list(streams)})
        return {row["id"]: Versioned(row["version"], _row(row)) for row in found.mappings()}

    async def save(self, connection: AsyncConnection, changed: Mapping[str, Versioned[KeyRow]]) -> None:
        values = [_values(stream, row) for stream, row in changed.items()]
        await connection.execute(self._saves[connection.dialect.name], values)


def _columns() -> Sequence[Column[Any]]:
    return (
        Column("id", Text, primary_key=True),
        Column("version", Integer, nullable=False),
        # NULL in organization_id: there is no row, only the version guard of its stream. No question finds it.
        Column("organization_id", Text),
        Column("created_position", BigInteger),
        Column("type", Text),
        Column("owner_type", Text),
        Column("owner_id", Text),
        Column("name", Text),
        Column("description", Text),
        Column("role", Text),
        Column("environment", Text),
        Column("created_at", BigInteger),
        Column("created_by_user", Text),
        Column("created_by_key", Text),
        Column("updated_at", BigInteger),
        Column("expires_at", BigInteger),
        Column("revoked_at", BigInteger),
        Column("revocation_reason", Text),
        Column("rotated_at", BigInteger),
    )


def _save(insert: Any, table: Table) -> Any:
    fresh = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[table.c.id], set_=fresh)


class KeyView(Struct, frozen=True):
    """A key as it was read: its id, the version of its stream, and its row."""

    id: str
    version: int
    row: KeyRow


class Question(Struct, frozen=True, kw_only=True):
    """Which keys of one organization are asked for; None: no matter which. ``status`` None: all but the revoked."""

    organization_id: str
    type: KeyType | None = None
    owner_id: str | None = None
    role: str | None = None
    environment: Environment | None = None
    status: Status | None = None


class DirectoryStore(SqlReadModel[KeyRow, KeysTable]):
    """Read model of keys in SQLite or Postgres, and the questions of the API."""

    def __init__(self, engine: AsyncEngine, *, generation: int = GENERATION) -> None:
        super().__init__(engine, name=NAME, number=generation, prefix=PREFIX, rows=KeysTable)

    async def find(self, organization_id: str, key_id: str) -> KeyView | None:
        """Return an organization's living key; a revoked, a foreign and an unknown one alike are not there."""
        keys = self.current.rows
        c = keys.table.c
        living = select(keys.table).where(c.id == key_id, c.organization_id == organization_id, keys.live)
        async with reading(self.engine) as connection:
            found = (await connection.execute(living)).mappings().one_or_none()
        return None if found is None else _view(found)

    async def list(self, question: Question, *, now: int, before: int | None, limit: int) -> Sequence[KeyView]:
        """Return up to ``limit`` keys, newest first, made before the position ``before``; ``now`` in microseconds."""
        keys = self.current.rows
        page = _asked(question, now, keys)
        if before is not None:
            page = page.where(keys.table.c.created_position < before)
        page = page.order_by(keys.table.c.created_position.desc()).limit(limit)
        async with reading(self.engine) as connection:
            return [_view(found) for found in (await connection.execute(page)).mappings()]


def _asked(question: Question, now: int, keys: KeysTable) -> Select[Any]:
    c = keys.table.c
    asked = select(keys.table).where(c.organization_id == question.organization_id)
    match question.status:
        case "revoked":
            asked = asked.where(keys.revoked)
        case "expired":
            asked = asked.where(keys.live, c.expires_at.is_not(None), c.expires_at <= now)
        case "active":
            asked = asked.where(keys.live, c.expires_at.is_(None) | (c.expires_at > now))
        case None:
            asked = asked.where(keys.live)
    for field in ("type", "owner_id", "role", "environment"):
        wanted = getattr(question, field)
        if wanted is not None:
            asked = asked.where(c[field] == wanted)
    return asked


def _values(stream: str, versioned: Versioned[KeyRow]) -> dict[str, Any]:
    row = versioned.row
    fields = {field.name: None if row is None else getattr(row, field.name) for field in _FIELDS}
    return {"id": stream, "version": versioned.version, **fields}


def _row(found: RowMapping) -> KeyRow | None:
    return None if found["organization_id"] is None else KeyRow(**{field.name: found[field.name] for field in _FIELDS})


def _view(found: RowMapping) -> KeyView:
    row = _row(found)
    if row is None:
        raise LookupError(f"{found['id']} has no row")
    return KeyView(found["id"], found["version"], row)
