"""Connections to the SQL database of a read model, and which of its failures pass by themselves.

SQLite (aiosqlite) and Postgres (asyncpg) through the same SQLAlchemy Core statements. Only services import this: the
library that verifies keys has no SQL.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from sqlalchemy import URL, Connection, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateSchema

from keyledger.projections.port import ReadModelUnavailable

_PASSING_SQLSTATES: Final = ("08", "53", "57", "40")
"""Classes of PostgreSQL's Appendix A: connection, resources, operator intervention, transaction rollback."""
_PASSING_SQLITE: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN")
_POSTGRES_SETTINGS: Final = {
    "application_name": "keyledger",
    # Short statements only: compiling them costs more than it can save.
    "jit": "off",
    # A crash of the server may take the last commits, rows and checkpoint together; the log has them still.
    "synchronous_commit": "off",
    # Plans are kept with their connection: one made while the tables were empty would scan them whole for ever. All
    # questions to read models have an index.
    "enable_seqscan": "off",
}
_WRITES: Final = "keyledger_writes"


def open_engine(url: str, *, schema: str | None = None, pool_size: int = 5) -> AsyncEngine:
    """Return an engine for ``postgresql://...`` or ``sqlite:///path``; nothing is connected yet.

    ``schema`` is where Postgres keeps the tables; SQLite has one file per read model instead.

    Raises:
        ValueError: it is neither; the URL is not repeated, since it may hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = URL.create("unreadable")
    if parsed.drivername not in ("sqlite", "postgresql"):
        raise ValueError("a read model is postgresql://user:password@host:port/database or sqlite:///path/file.db")
    if parsed.drivername == "sqlite":
        return _sqlite(parsed.set(drivername="sqlite+aiosqlite"), pool_size)
    engine = create_async_engine(
        URL.create("postgresql+asyncpg", database=parsed.database),
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        # asyncpg reads the URL, as it does the ledger's: SQLAlchemy does not know libpq's words (sslmode and others).
        connect_args={"dsn": url, "server_settings": _POSTGRES_SETTINGS},
    )
    return engine.execution_options(schema_translate_map={None: schema}) if schema else engine


def schema_of(engine: AsyncEngine) -> str | None:
    """Return the schema in which the engine's tables are; None on SQLite."""
    schema: str | None = (engine.get_execution_options().get("schema_translate_map") or {}).get(None)
    return schema


async def make_schema(connection: AsyncConnection, engine: AsyncEngine) -> None:
    """Make the engine's schema, where it has one, and hold other processes off until the transaction ends.

    For whoever makes tables next: IF NOT EXISTS does not keep two from both trying, and one from failing.
    """
    schema = schema_of(engine)
    if schema is not None:
        await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:schema))"), {"schema": schema})
        await connection.execute(CreateSchema(schema, if_not_exists=True))


def _sqlite(url: URL, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(url, hide_parameters=True, pool_size=pool_size, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # sqlite3 would begin transactions by itself, late and deferred: then two writers both read before either locks.
        connection.isolation_level = None
        cursor = connection.cursor()
        # NORMAL: a power cut may take the last commits, rows and checkpoint together; the log has them still.
        # 32 MiB of pages: with the default 2 MiB a rebuild of many keys reads its indexes again and again.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "cache_size=-32768"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def insert_into(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that may say what becomes of rows that are there already (ON CONFLICT)."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give one transaction that may write: committed on a clean exit, else rolled back.

    Raises:
        ReadModelUnavailable: the database cannot be reached; whether the commit was done is not known.
    """
    with unavailable_if_passing():
        async with engine.execution_options(**{_WRITES: True}).begin() as connection:
            yield connection


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give one connection that only reads.

    Raises:
        ReadModelUnavailable: the database cannot be reached.
    """
    with unavailable_if_passing():
        async with engine.connect() as connection:
            yield connection


@contextmanager
def unavailable_if_passing() -> Iterator[None]:
    """Turn what passes by itself (a lost connection, a full disk, a lock) into ReadModelUnavailable, nothing else."""
    try:
        yield
    except Exception as error:
        if not _passes(error):
            raise
        raise ReadModelUnavailable(f"{type(error).__name__}: {getattr(error, 'orig', error)}") from error


def _passes(error: Exception) -> bool:
    if isinstance(error, OSError | PoolExhausted):  # an OSError is asyncpg's own, when nobody listens
        return True
    # While connecting, asyncpg's errors come as they are; later, SQLAlchemy's DBAPIError holds them.
    original = getattr(error, "orig", error)
    state = getattr(original, "sqlstate", None) or ""
    name = getattr(original, "sqlite_errorname", None) or ""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or state.startswith(_PASSING_SQLSTATES) or name.startswith(_PASSING_SQLITE)
