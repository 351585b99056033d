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
from keyledger_directory.projector import DirectoryRow, KeyRow, Kind, UserRow

PREFIX: Final = "api_keys_"


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
            ("disabled", (c.organization_id, c.created_position), live & c.disabled_at.is_not(None)),
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
        self._kept: Final = (_Kept(self.keys, KeyRow), _Kept(self.users, UserRow))

    async def load(self, connection: AsyncConnection, streams: Collection[str]) -> dict[str, Versioned[DirectoryRow]]:
        rows: dict[str, Versioned[DirectoryRow]] = {}
        for kept in self._kept:
            here = [stream for stream in streams if _form_of(stream) is kept.form]
            if here:
                found = await connection.execute(kept.loads[connection.dialect.name], {"streams": here})
                rows |= {row["id"]: Versioned(row["version"], row_of(kept.form, row)) for row in found.mappings()}
        return rows

    async def save(self, connection: AsyncConnection, changed: Mapping[str, Versioned[DirectoryRow]]) -> None:
        for kept in self._kept:
            here = [
                {"id": stream, "version": row.version, **_fields_of(kept.form, row.row)}
                for stream, row in changed.items()
                if _form_of(stream) is kept.form
            ]
            if here:
                await connection.execute(kept.saves[connection.dialect.name], here)


class _Kept:
    """One form of rows, and how they are loaded from their table and saved, by dialect."""

    def __init__(self, table: Table, form: type[DirectoryRow]) -> None:
        self.form: Final = form
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
        Column("secrets", Text),
        Column("metadata", Text),
        Column("expires_at", BigInteger),
        Column("disabled_at", BigInteger),
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


def _form_of(stream: str) -> type[DirectoryRow]:
    return UserRow if is_resource_id(stream, "user") else KeyRow


def row_of(form: type[Kind], found: RowMapping) -> Kind | None:
    """Return a row in its form; None where there is only the version guard."""
    if found["organization_id"] is None:
        return None
    return form(**{field: found[field] for field in form.__struct_fields__})


def _fields_of(form: type[DirectoryRow], row: DirectoryRow | None) -> dict[str, Any]:
    return dict.fromkeys(form.__struct_fields__) if row is None else structs.asdict(row)
