"""The directory's database, and the questions that are asked of it."""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, RowMapping, Select, Text, cast, exists, literal_column, null, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from keyledger.domain.events import Environment, KeyType
from keyledger.projections.sql import reading
from keyledger.projections.sql_read_model import SqlReadModel
from keyledger_directory.projector import GENERATION, NAME, DirectoryRow, KeyRow, died_at
from keyledger_directory.tables import PREFIX, DirectoryTables, row_of

Status = Literal["active", "expired", "disabled", "revoked"]


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


class DirectoryStore(SqlReadModel[DirectoryRow, DirectoryTables]):
    """Read model of keys in SQLite or Postgres, and the questions of the API.

    A key that died when its owner was deactivated is shown as revoked at that moment.
    """

    def __init__(self, engine: AsyncEngine, *, generation: int = GENERATION) -> None:
        super().__init__(engine, name=NAME, number=generation, prefix=PREFIX, rows=DirectoryTables)

    async def find(self, organization_id: str, key_id: str) -> KeyView | None:
        """Return an organization's living key; a revoked, a foreign and an unknown one alike are not there."""
        tables = self.current.rows
        c = tables.keys.c
        living = select(tables.keys).where(c.id == key_id, c.organization_id == organization_id, *_living(tables))
        async with reading(self.engine) as connection:
            found = (await connection.execute(living)).mappings().one_or_none()
        return None if found is None else _view(found)

    async def list(self, question: Question, *, now: int, before: int | None, limit: int) -> Sequence[KeyView]:
        """Return up to ``limit`` keys, newest first, made before the position ``before``; ``now`` in microseconds."""
        tables = self.current.rows
        c = tables.keys.c

        def page(keys: Select[Any], order: ColumnElement[int] = c.created_position) -> Select[Any]:
            asked = _asked(question, keys, tables)
            if before is not None:
                asked = asked.where(c.created_position < before)
            return asked.order_by(order.desc()).limit(limit)

        found: Select[Any]
        if question.status == "revoked":  # each part along an index of its own
            # Without the sum the dead would be looked for among all living keys, in their order: whole tables, for few.
            dead = page(_died_with_owner(tables, question), c.created_position + literal_column("0"))
            both = union_all(*(select(part.subquery()) for part in (page(_revoked(tables)), dead))).subquery()
            found = select(both).order_by(both.c.created_position.desc()).limit(limit)
        else:
            found = page(select(tables.keys).where(*_living(tables), *_by_status(question, now, tables)))
        async with reading(self.engine) as connection:
            return [_view(row) for row in (await connection.execute(found)).mappings()]


def _living(tables: DirectoryTables) -> tuple[ColumnElement[bool], ...]:
    users = tables.users.c
    return tables.live, ~exists().where(users.id == tables.keys.c.owner_id, _made_before_deactivation(tables))


def _made_before_deactivation(tables: DirectoryTables) -> ColumnElement[bool]:
    """Return that a key was made before its user was deactivated: only personal keys have a user."""
    return tables.keys.c.created_position < tables.users.c.deactivated_position


def _revoked(tables: DirectoryTables) -> Select[Any]:
    return select(tables.keys, cast(null(), Text).label("deactivations")).where(tables.revoked)


def _died_with_owner(tables: DirectoryTables, question: Question) -> Select[Any]:
    users = tables.users.c
    joined = tables.keys.join(tables.users, users.id == tables.keys.c.owner_id)
    ended = select(users.id).where(tables.deactivated, users.organization_id == question.organization_id)
    owned = tables.keys.c.owner_id.in_(ended)
    dead = select(tables.keys, users.deactivations).select_from(joined)
    return dead.where(owned, tables.live, _made_before_deactivation(tables))


def _by_status(question: Question, now: int, tables: DirectoryTables) -> tuple[ColumnElement[bool], ...]:
    expires_at, disabled_at = tables.keys.c.expires_at, tables.keys.c.disabled_at
    match question.status:
        case "disabled":
            return (disabled_at.is_not(None),)
        case "expired":
            return disabled_at.is_(None), expires_at.is_not(None), expires_at <= now
        case "active":
            return disabled_at.is_(None), expires_at.is_(None) | (expires_at > now)
        case "revoked" | None:
            return ()


def _asked(question: Question, keys: Select[Any], tables: DirectoryTables) -> Select[Any]:
    c = tables.keys.c
    asked = keys.where(c.organization_id == question.organization_id)
    for field in ("type", "owner_id", "role", "environment"):
        wanted = getattr(question, field)
        if wanted is not None:
            asked = asked.where(c[field] == wanted)
    return asked


def _view(found: RowMapping) -> KeyView:
    row = row_of(KeyRow, found)
    if row is None:
        raise LookupError(f"{found['id']} has no row")
    deactivations = found.get("deactivations")
    if deactivations is not None:
        died = died_at(deactivations, row.created_position)
        row = replace(row, revoked_at=died, revocation_reason="owner_deactivated")
    return KeyView(found["id"], found["version"], row)
