"""Connections to the file, and what their failures mean."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from keyledger.eventstore.port import LedgerNotMigrated, LedgerUnavailable, OutcomeUnknown
from keyledger.eventstore.writer import BatchRefused

BUSY_SECONDS: Final = 5.0
"""How long another process may hold the file's lock before ours gives up."""
RETRY_SECONDS: Final = 0.0005
CHECKPOINT_PAGES: Final = 4_000
"""How long the write-ahead file grows (16 MB) before it is copied back; at SQLite's 1,000 a quarter is lost to that."""
CACHE_KIB: Final = 64 * 1024


def connect(path: Path, *, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    """Return a connection to a file that exists. FULL: a commit survives a power cut; NORMAL: an order of them does.

    Raises:
        LedgerNotMigrated: there is no such file. LedgerUnavailable: it cannot be opened.
    """
    if not path.exists():  # sqlite3 would make an empty one
        raise LedgerNotMigrated(f"there is no ledger at {path}: run `keyledger migrate`")
    with failures_told():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions begin where we say so
            check_same_thread=False,  # each is used by one thread at a time: that of its executor
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    return connection


@contextmanager
def failures_told() -> Iterator[None]:
    """Turn the driver's failures into the port's words, before a commit was asked for."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LedgerUnavailable(f"SQLite: {error.sqlite_errorname}") from error
    except (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError, UnicodeError, OverflowError) as error:
        raise BatchRefused(type(error).__name__) from error


def begin(connection: sqlite3.Connection) -> None:
    """Take the file's write lock. Blocks its thread, BUSY_SECONDS at most.

    SQLite's own waiting backs off to 100 ms between looks, and a busy neighbour then writes seventy batches to our one.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    connection.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_SECONDS)
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1_000)}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the file's write lock; commit on a clean exit, else roll back.

    Raises:
        LedgerUnavailable: nothing was written. OutcomeUnknown: the commit failed, of a full disk for example.
    """
    with failures_told():
        begin(connection)
    try:
        with failures_told():
            yield
    except BaseException:
        connection.rollback()
        raise
    try:
        connection.commit()
    except sqlite3.OperationalError as error:
        connection.rollback()  # else the next one would find itself inside this transaction
        raise OutcomeUnknown(f"SQLite: {error.sqlite_errorname}") from error
