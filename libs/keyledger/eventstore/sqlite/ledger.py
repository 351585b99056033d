"""The ledger's port, in a SQLite file."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from keyledger.contracts.envelope import Entry, Header
from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import KeptClaim, replay_of
from keyledger.eventstore.arrivals import Arrivals
from keyledger.eventstore.checking import can_exist, check_claim
from keyledger.eventstore.migrations import REVISION, VERSION_TABLE
from keyledger.eventstore.port import (
    Append,
    Appended,
    CheckpointMoved,
    Head,
    IdempotencyClaim,
    LedgerNotMigrated,
    LedgerUnavailable,
    Profile,
    Replayed,
)
from keyledger.eventstore.recent import RecentRows
from keyledger.eventstore.rows import COLUMNS, behind, to_entry
from keyledger.eventstore.sqlite import statements
from keyledger.eventstore.sqlite.committing import SqliteCommitter
from keyledger.eventstore.sqlite.connections import connect, failures_told, transaction
from keyledger.eventstore.writer import GroupCommit

POLL_SECONDS: Final = 0.05
"""How often a waiter looks for what another process wrote. What this one writes wakes it at once."""

Result = TypeVar("Result")

_log: Final = logging.getLogger(__name__)


class SqliteLedger:
    """A ledger with two threads: one writes and waits for the disk, one reads and never waits for that."""

    def __init__(self, path: Path, store_id: str, reads: sqlite3.Connection, *, clock: Clock) -> None:
        self.store_id = store_id
        self._path = path
        self._clock = clock
        self._arrivals = Arrivals(clock)
        self._write_thread = ThreadPoolExecutor(1, "ledger-writer")
        self._read_thread = ThreadPoolExecutor(1, "ledger-reader")
        self._reads = reads
        self._marks: sqlite3.Connection | None = None
        self._recent = RecentRows()
        self._committer = SqliteCommitter(
            path, self._write_thread, clock=clock, arrivals=self._arrivals, recent=self._recent
        )
        self._writer = GroupCommit(self._committer, clock=clock)
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, clock: Clock) -> Self:
        """Return the ledger at ``sqlite:///relative`` or ``sqlite:////absolute``.

        Raises LedgerNotMigrated, LedgerUnavailable.
        """
        path = Path(url.removeprefix("sqlite:///"))
        store_id, reads = await asyncio.to_thread(_open, path)
        return cls(path, store_id, reads, clock=clock)

    async def append(self, append: Append) -> Appended | Replayed:
        return await self._writer.append(append)

    async def find_replay(self, claim: IdempotencyClaim) -> Replayed | None:
        check_claim(claim)
        row = await self._read(lambda reads: reads.execute(statements.CLAIM, (claim.scope,)).fetchone())
        return replay_of(claim, KeptClaim(*row) if row else None, self._clock.now())

    async def load(self, streams: Collection[str], *, known: Mapping[str, int] = {}) -> dict[str, list[Entry]]:
        asked = {stream: known.get(stream, 1) for stream in streams if can_exist(stream)}

        def load(reads: sqlite3.Connection) -> dict[str, list[Entry]]:
            rows = reads.execute(statements.STREAMS, (msgspec.json.encode(asked).decode(),))
            loaded: dict[str, list[Entry]] = {stream: [] for stream in streams}
            for row in rows:
                entry = _entry(row)
                loaded[entry.header.stream].append(entry)
            return loaded

        return await self._read(load)

    async def streams(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        asked = (max(prefix, after), behind(prefix), limit)
        rows = await self._read(lambda reads: reads.execute(statements.NAMES, asked).fetchall())
        return [name for (name,) in rows]

    async def read(self, after: int, *, limit: int) -> list[Entry]:
        recent = self._recent.after(after, limit)
        if recent:
            return recent

        return _page(*await self._read(lambda reads: reads.execute(statements.PAGE, (after, limit)).fetchone()))

    async def head(self) -> Head:
        return Head(*await self._read(lambda reads: reads.execute(statements.HEAD).fetchone()))

    async def wait_beyond(self, position: int, *, timeout_seconds: float) -> None:
        if self._watch is not None and self._watch.done():
            self._watch.result()  # it ends by a mistake of ours only: say so, instead of waiting in vain
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_head(), name="ledger-watch")
        await self._arrivals.wait_beyond(position, timeout_seconds=timeout_seconds)

    async def profiles(self, user_ids: Collection[str]) -> dict[str, Profile]:
        rows = await self._read(
            lambda reads: reads.execute(statements.PROFILES, _listed(filter(can_exist, user_ids))).fetchall()
        )
        return {row[0]: Profile(*row) for row in rows}

    async def addresses(self, positions: Collection[int]) -> dict[int, str]:
        return dict(await self._read(lambda reads: reads.execute(statements.ADDRESSES, _listed(positions)).fetchall()))

    async def erase(self, user_id: str) -> None:
        await self._in(self._write_thread, partial(self._erase, user_id))

    async def checkpoint(self, name: str) -> int:
        row = await self._read(lambda reads: reads.execute(statements.CHECKPOINT, (name,)).fetchone())
        return row[0] if row else 0

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        if await self._in(self._write_thread, partial(self._move_checkpoint, name, expected, new)) == 0:
            raise CheckpointMoved(f"checkpoint {name} is not at {expected}: somebody else moved it")

    async def close(self) -> None:
        await self._writer.close()
        if self._closed:
            return
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._write_thread, self._close_writes)
        await loop.run_in_executor(self._read_thread, self._reads.close)
        self._write_thread.shutdown(wait=False)
        self._read_thread.shutdown(wait=False)

    async def _read(self, question: Callable[[sqlite3.Connection], Result]) -> Result:
        def ask() -> Result:
            with failures_told():
                return question(self._reads)

        return await self._in(self._read_thread, ask)

    async def _in(self, thread: Executor, work: Callable[[], Result]) -> Result:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    async def _watch_head(self) -> None:
        """Look for what other processes wrote, as long as somebody waits."""
        while True:
            if self._arrivals.awaited():
                try:
                    self._arrivals.reached((await self.head()).position)
                except LedgerUnavailable as error:
                    _log.warning("the ledger's head cannot be read, trying again: %s", error)
            await self._clock.sleep(POLL_SECONDS)

    def _move_checkpoint(self, name: str, expected: int, new: int) -> int:
        if self._marks is None:
            # A mark that a power cut takes back costs a repetition, which readers skip. To wait for the disk at each
            # would cost every append that waits behind it.
            self._marks = connect(self._path, synchronous="NORMAL")
        with transaction(self._marks):
            return self._marks.execute(statements.MOVE_CHECKPOINT, (name, expected, new)).rowcount

    def _erase(self, user_id: str) -> None:
        with closing(connect(self._path, synchronous="FULL")) as connection:
            connection.execute("PRAGMA secure_delete=ON")  # else the text stays in the file's free pages
            with transaction(connection):
                connection.execute("DELETE FROM profiles WHERE user_id = ?", (user_id,))
                connection.execute("DELETE FROM event_addresses WHERE actor_user = ?", (user_id,))

    def _close_writes(self) -> None:
        self._committer.close()
        if self._marks is not None:
            self._marks.close()


def _open(path: Path) -> tuple[str, sqlite3.Connection]:
    reads = connect(path, synchronous="FULL")
    try:
        with failures_told():
            refuse_older(reads)
            return _store_id(path, reads), reads
    except BaseException:
        reads.close()
        raise


def refuse_older(connection: sqlite3.Connection) -> None:
    """Raise LedgerUnavailable where this process's SQLite cannot give a page."""
    if connection.execute(statements.JOINS_EVERY_BYTE).fetchone() != (1,):
        raise LedgerUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: it ends joined bytes at a zero byte")


def _store_id(path: Path, reads: sqlite3.Connection) -> str:
    exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if reads.execute(exists, (VERSION_TABLE,)).fetchone() is None:
        raise LedgerNotMigrated(f"{path} holds no ledger: run `keyledger migrate`")
    (revision,) = reads.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - our own name
    if revision != REVISION:
        raise LedgerNotMigrated(f"the ledger is at revision {revision}, not {REVISION}: run `keyledger migrate`")
    (store_id,) = reads.execute("SELECT store_id FROM ledger_head").fetchone()
    return str(store_id)


def _entry(row: tuple[Any, ...]) -> Entry:
    return to_entry((*row[:_MAY_IGNORE], bool(row[_MAY_IGNORE]), *row[_MAY_IGNORE + 1 :]))  # SQLite knows no booleans


def _page(headers: str, sizes: str, data: bytes | None, prev_hashes: bytes, hashes: bytes) -> list[Entry]:
    """Return the entries that ``PAGE`` packed."""
    entries: list[Entry] = []
    if data is None:
        return entries
    began = at = 0
    for header, size in zip(_headers(headers), _sizes(sizes), strict=True):
        end = began + size
        entries.append(Entry(header, data[began:end], prev_hashes[at : at + 32], hashes[at : at + 32]))
        began, at = end, at + 32
    return entries


_headers: Final = msgspec.json.Decoder(list[Header]).decode
_sizes: Final = msgspec.json.Decoder(list[int]).decode


def _listed(values: Iterable[str] | Iterable[int]) -> tuple[str]:
    return (msgspec.json.encode(list(values)).decode(),)


_MAY_IGNORE: Final = COLUMNS.index("may_ignore")
