"""Bring a ledger's database to the newest form."""

import asyncio
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from keyledger.eventstore import migrations
from keyledger.eventstore.port import LedgerUnavailable

_MIGRATION_LOCK = 0x6B65_796C_6564_6772
"""An advisory lock of Postgres ("keyledgr"): two processes that start at once migrate one after the other."""


async def migrate(url: str) -> None:
    """Create or upgrade the ledger at ``postgresql://...`` or ``sqlite:///path``, in one transaction.

    Does nothing where it is up to date, so it may run at every deployment. The first time, the ledger is given its
    ``store_id``.

    Raises:
        ValueError: the URL is of another kind.
        LedgerUnavailable: the database could not be reached, or refused.
    """
    scheme, _, rest = url.partition("://")
    try:
        match scheme:
            case "postgresql":
                await _migrate_postgres(url)
            case "sqlite":
                await asyncio.to_thread(_migrate_sqlite, f"sqlite+pysqlite://{rest}")
            case _:
                raise ValueError(f"a ledger's URL starts with postgresql:// or sqlite:///, not {scheme}://")
    except (SQLAlchemyError, OSError) as error:
        # The driver's own words, without the statement or the URL that SQLAlchemy adds.
        why = getattr(error, "orig", None) or error
        raise LedgerUnavailable(f"the ledger's database (KEYLEDGER_DATABASE_URL): {why}") from error


async def _migrate_postgres(url: str) -> None:
    # asyncpg reads the URL, as it does for the ledger: SQLAlchemy does not know libpq's words (sslmode and others).
    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, connect_args={"dsn": url})
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _migrate_sqlite(url: str) -> None:
    Path(url.partition(":///")[2]).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool)
    _begin_at_once(engine)
    with engine.begin() as connection:
        _upgrade(connection)


def _begin_at_once(engine: Engine) -> None:
    """Make the driver's own transactions real ones: by itself it begins none before a CREATE TABLE."""

    @event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
