"""The directory's tables: keys, and the users whose deactivation ends them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from msgspec import structs
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    any_,
    bindparam,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from keyledger.domain.identifiers import is_resource_id
from keyledger.projections.port import Generation, Versioned
from keyledger_directory.projector import DirectoryRow, KeyRow, UserRow

PREFIX: Final = "api_keys_"
_KEY_FIELDS: Final = tuple(field.name for field in structs.fields(KeyRow))
_USER_FIELDS: Final = tuple(field.name for field in structs.fields(UserRow))


class DirectoryTables:
    """The tables of one generation, and how rows get there and back (``RowTable[DirectoryRow]``)."""

    def __init__(self, generation: Generation) -> None:
        name = f"{PREFIX}{generation.number}_{generation.build}"
        self.keys: Final = Table(name, MetaData(), *_key_columns())
        self.users: Final = Table(f"{name}_users", MetaData(), *_user_columns())
        self.tables: Final = (self.keys, self.users)
        c = self.keys.c
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
        self.deactivated: Final = self.users.c.deactivated_position > literal_column("0")
        Index(
            f"{name}_users_deactivated",
            self.users.c.organization_id,
            postgresql_where=self.deactivated,
            sqlite_where=self.deactivated,
        )
        self._statements: Final = {table.name: _Statements(table) for table in self.tables}

    async def load(self, connection: AsyncConnection, streams: Collection[str]) -> dict[str, Versioned[DirectoryRow]]:
        rows: dict[str, Versioned[DirectoryRow]] = {}
        for table in self.tables:
            here = [stream for stream in streams if self._table_of(stream) is table]
            if here:
                load = self._statements[table.name].loads[connection.dialect.name]
                found = (await connection.execute(load, {"streams": here})).mappings()
                row_of = key_row if table is self.keys else _user_row
                rows |= {row["id"]: Versioned(row["version"], row_of(row)) for row in found}
        return rows

    async def save(self, connection: AsyncConnection, changed: Mapping[str, Versioned[DirectoryRow]]) -> None:
        for table in self.tables:
            fields = _KEY_FIELDS if table is self.keys else _USER_FIELDS
            here = [_values(stream, row, fields) for stream, row in changed.items() if self._table_of(stream) is table]
            if here:
                await connection.execute(self._statements[table.name].saves[connection.dialect.name], here)

    def _table_of(self, stream: str) -> Table:
        return self.users if is_resource_id(stream, "user") else self.keys


class _Statements:
    """How rows of one table are loaded and saved, by dialect."""

    def __init__(self, table: Table) -> None:
        self.loads: Final[dict[str, Any]] = {
            # One statement whatever the number of streams: each other text would be prepared and planned anew.
            "postgresql": select(table).where(table.c.id == any_(bindparam("streams", type_=postgresql.ARRAY(Text)))),
            "sqlite": select(table).where(table.c.id.in_(bindparam("streams", expanding=True))),
        }
        self.saves: Final[dict[str, Any]] = {
            "postgresql": _save(postgresql.insert(table), table),
            "sqlite": _save(sqlite.insert(table), table),
        }


def _save(insert: Any, table: Table) -> Any:
    fresh = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[table.c.id], set_=fresh)


def _key_columns() -> Sequence[Column[Any]]:
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


def _user_columns() -> Sequence[Column[Any]]:
    return (
        Column("id", Text, primary_key=True),
        Column("version", Integer, nullable=False),
        Column("organization_id", Text),  # NULL as above
        Column("deactivated_position", BigInteger),
        Column("deactivations", Text),
    )


def _values(stream: str, versioned: Versioned[DirectoryRow], fields: Sequence[str]) -> dict[str, Any]:
    row = versioned.row
    kept = {field: None if row is None else getattr(row, field) for field in fields}
    return {"id": stream, "version": versioned.version, **kept}


def key_row(found: RowMapping) -> KeyRow | None:
    """Return the row of a key; None where there is only the version guard."""
    return None if found["organization_id"] is None else KeyRow(**{field: found[field] for field in _KEY_FIELDS})


def _user_row(found: RowMapping) -> UserRow | None:
    return None if found["organization_id"] is None else UserRow(**{field: found[field] for field in _USER_FIELDS})
