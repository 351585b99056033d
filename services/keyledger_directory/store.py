"""The directory's database: one table of keys, and the questions that are asked of it."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from msgspec import Struct, structs
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
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
from keyledger.projections.port import Checkpoint, Parked, Versioned
from keyledger.projections.sql import CheckpointRow, checkpoint_table, reading, writing
from keyledger.projections.sql_parked import ParkedRows, parked_table
from keyledger_directory.projector import GENERATION, NAME, KeyRow

Status = Literal["active", "expired", "revoked"]

_metadata: Final = MetaData()
_checkpoints: Final = checkpoint_table(_metadata)
_parked: Final = parked_table(_metadata)
_keys: Final = Table(
    "api_keys",
    _metadata,
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
_c: Final = _keys.c
_FIELDS: Final = structs.fields(KeyRow)


def _index(name: str, *columns: ColumnElement[Any], only: ColumnElement[bool]) -> None:
    Index(f"api_keys_{name}", *columns, postgresql_where=only, sqlite_where=only)


# Each page is read along one index in the order of the answer. Revoked keys only ever grow in number, so they have
# indexes of their own: a page of live keys must not walk over them.
_LIVE: Final = _c.revoked_at.is_(None)
_REVOKED: Final = _c.revoked_at.is_not(None)
_index("live", _c.organization_id, _c.created_position, only=_LIVE)
_index("live_by_owner", _c.organization_id, _c.owner_id, _c.created_position, only=_LIVE)
_index("live_by_role", _c.organization_id, _c.role, _c.created_position, only=_LIVE)
_index("live_by_type", _c.organization_id, _c.type, _c.created_position, only=_LIVE)
_index("live_by_environment", _c.organization_id, _c.environment, _c.created_position, only=_LIVE)
_index("live_by_expiry", _c.organization_id, _c.expires_at, only=_LIVE & _c.expires_at.is_not(None))
_index("revoked", _c.organization_id, _c.created_position, only=_REVOKED)
_index("revoked_by_owner", _c.organization_id, _c.owner_id, _c.created_position, only=_REVOKED)


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


class DirectoryStore:
    """Read model of keys in SQLite or Postgres (``ReadModel[KeyRow]``), and the questions of the API."""

    def __init__(self, engine: AsyncEngine, *, name: str = NAME, generation: int = GENERATION) -> None:
        self._engine = engine
        self._checkpoint = CheckpointRow(_checkpoints, name=name, generation=generation)
        self._parked = ParkedRows(_parked, name=name, generation=generation)

    async def prepare(self) -> None:
        """Make the tables, anew if they are of an older generation.

        Raises:
            ReadModelUnavailable, NewerGeneration
        """
        await self._checkpoint.prepare(self._engine, _keys, _parked)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def checkpoint(self) -> Checkpoint:
        async with reading(self._engine) as connection:
            return await self._checkpoint.read(connection)

    async def parked(self) -> dict[str, Parked]:
        async with reading(self._engine) as connection:
            return await self._parked.read(connection)

    async def request_retry(self, streams: Collection[str]) -> None:
        """Ask the runner, in whichever process it is, to fold these streams again."""
        async with writing(self._engine) as connection:
            await self._parked.request_retry(connection, streams)

    async def take_retry_requests(self) -> frozenset[str]:
        async with writing(self._engine) as connection:
            return await self._parked.take_retry_requests(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["DirectoryRows"]:
        async with writing(self._engine) as connection:
            yield DirectoryRows(connection, self._checkpoint, self._parked)

    async def find(self, organization_id: str, key_id: str) -> KeyView | None:
        """Return an organization's living key; a revoked, a foreign and an unknown one alike are not there."""
        living = select(_keys).where(_c.id == key_id, _c.organization_id == organization_id, _LIVE)
        async with reading(self._engine) as connection:
            found = (await connection.execute(living)).mappings().one_or_none()
        return None if found is None else _view(found)

    async def list(self, question: Question, *, now: int, before: int | None, limit: int) -> Sequence[KeyView]:
        """Return up to ``limit`` keys, newest first, made before the position ``before``; ``now`` in microseconds."""
        page = _asked(question, now)
        if before is not None:
            page = page.where(_c.created_position < before)
        page = page.order_by(_c.created_position.desc()).limit(limit)
        async with reading(self._engine) as connection:
            return [_view(found) for found in (await connection.execute(page)).mappings()]


def _asked(question: Question, now: int) -> Select[Any]:
    asked = select(_keys).where(_c.organization_id == question.organization_id)
    match question.status:
        case "revoked":
            asked = asked.where(_REVOKED)
        case "expired":
            asked = asked.where(_LIVE, _c.expires_at.is_not(None), _c.expires_at <= now)
        case "active":
            asked = asked.where(_LIVE, _c.expires_at.is_(None) | (_c.expires_at > now))
        case None:
            asked = asked.where(_LIVE)
    for field in ("type", "owner_id", "role", "environment"):
        wanted = getattr(question, field)
        if wanted is not None:
            asked = asked.where(_c[field] == wanted)
    return asked


class DirectoryRows:
    """One open transaction of the directory (``Rows[KeyRow]``)."""

    def __init__(self, connection: AsyncConnection, checkpoint: CheckpointRow, parked: ParkedRows) -> None:
        self._connection, self._checkpoint, self._parked = connection, checkpoint, parked

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[KeyRow]]:
        if not streams:
            return {}
        load = _LOADS[self._connection.dialect.name]
        found = await self._connection.execute(load, {"streams": list(streams)})
        return {row["id"]: Versioned(row["version"], _row(row)) for row in found.mappings()}

    async def save(self, changed: Mapping[str, Versioned[KeyRow]]) -> None:
        if changed:
            values = [_values(stream, row) for stream, row in changed.items()]
            await self._connection.execute(_SAVES[self._connection.dialect.name], values)

    async def park(self, parked: Collection[Parked]) -> None:
        await self._parked.put(self._connection, parked)

    async def release(self, streams: Collection[str]) -> None:
        await self._parked.remove(self._connection, streams)

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        await self._checkpoint.move(self._connection, expected=expected, new=new)


_LOADS: Final = {
    # One statement whatever the number of streams: each other text would be prepared and planned anew.
    "postgresql": select(_keys).where(_c.id == any_(bindparam("streams", type_=postgresql.ARRAY(Text)))),
    "sqlite": select(_keys).where(_c.id.in_(bindparam("streams", expanding=True))),
}


def _save(insert: Any) -> Any:
    fresh = {column.name: insert.excluded[column.name] for column in _keys.columns if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[_c.id], set_=fresh)


_SAVES: Final = {"postgresql": _save(postgresql.insert(_keys)), "sqlite": _save(sqlite.insert(_keys))}


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
