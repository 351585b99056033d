"""Connections to Postgres, and what their failures mean. The only place that imports asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from keyledger.eventstore.port import LedgerUnavailable
from keyledger.eventstore.writer import BatchRefused, CommitUncertain

CONNECT_SECONDS: Final = 3.0
COMMAND_SECONDS: Final = 10.0
READERS: Final = 4

WRITER_SETTINGS: Final = {
    "synchronous_commit": "on",  # an answered append survives a power cut
    "lock_timeout": "5000",  # ms; a writer that hangs elsewhere turns ours into an error, not into silence
    "idle_in_transaction_session_timeout": "10000",  # ms; a stopped process must not hold the head's lock for ever
}
_REFUSED_VALUE: Final = ("22", "23", "54")
"""SQLSTATE classes: data exception, integrity constraint violation, program limit exceeded."""
_UNAVAILABLE: Final = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")
"""SQLSTATE classes: connection, transaction state, authorization, no such database, rollback, resources, object state,
operator intervention, system error. What is in neither list is a mistake of ours and stays what it is."""
_OUTCOME_OPEN: Final = ("08", "40", "57")
"""SQLSTATE classes that, as the answer to COMMIT, do not say whether it was carried out."""
_CONNECTION_LOST: Final = (OSError, TimeoutError, asyncpg.InternalClientError)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


async def connect(url: str, *, application: str, settings: dict[str, str] | None = None) -> Connection:
    """Return a new connection. Raises LedgerUnavailable."""
    with failures_told():
        return await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"application_name": application, **(settings or {})},
        )


async def open_pool(url: str) -> Pool:
    """Return a small pool for what needs no lock. Raises LedgerUnavailable."""
    with failures_told():
        return await asyncpg.create_pool(
            url,
            min_size=0,  # a pool that keeps some open shouts tracebacks into the log while the server is away
            max_size=READERS,
            reset=_as_it_is,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"application_name": "keyledger-ledger-reader"},
        )


async def _as_it_is(_connection: object) -> None:
    """Hand a connection on. Each is borrowed for one statement, and to reset it would be a second round trip."""


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[Connection]:
    """Give a connection of the pool. Raises LedgerUnavailable, also for what fails inside."""
    with failures_told():
        async with pool.acquire(timeout=CONNECT_SECONDS) as connection:
            yield connection  # type: ignore[misc]  # a proxy that behaves like the connection


@contextmanager
def failures_told() -> Iterator[None]:
    """Turn the driver's failures into the port's words, before a commit was asked for.

    Only the kind of an error is passed on: a server's message may quote the values it refuses.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _told(error) from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # a value that the driver cannot encode
            raise BatchRefused(type(error).__name__) from error
        raise LedgerUnavailable(f"connection unusable ({type(error).__name__})") from error
    except _CONNECTION_LOST as error:
        raise LedgerUnavailable(f"connection failed ({type(error).__name__})") from error


def _told(error: asyncpg.PostgresError) -> Exception:
    what = f"{type(error).__name__}, SQLSTATE {error.sqlstate}"
    if _is_of(error, _REFUSED_VALUE):
        return BatchRefused(what)
    return LedgerUnavailable(what) if _is_of(error, _UNAVAILABLE) else error


def _is_of(error: asyncpg.PostgresError, classes: tuple[str, ...]) -> bool:
    return (error.sqlstate or "").startswith(classes)


@contextmanager
def commit_told() -> Iterator[None]:
    """Turn the driver's failures into the port's words, from the moment that COMMIT is on its way."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if _is_of(error, _OUTCOME_OPEN):
            raise CommitUncertain(type(error).__name__) from error
        raise _told(error) from error
    except (*_CONNECTION_LOST, asyncpg.InterfaceError) as error:
        raise CommitUncertain(type(error).__name__) from error


@asynccontextmanager
async def listening(
    url: str, channel: str, heard: Callable[[str], None], lost: asyncio.Future[None]
) -> AsyncIterator[Connection]:
    """Give a connection that calls ``heard`` with each notification's payload; ``lost`` is done when it has ended.

    Raises LedgerUnavailable, also for what fails inside.
    """

    def on_notification(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        heard(str(payload))

    def on_termination(_connection: Any) -> None:
        if not lost.done():
            lost.set_result(None)

    connection = await connect(url, application="keyledger-ledger-listener")
    try:
        connection.add_termination_listener(on_termination)
        with failures_told():
            await connection.add_listener(channel, on_notification)
            yield connection
    finally:
        connection.terminate()  # at once: nothing is pending that could be lost
