"""The SQLite side of the embedded log: one file, one connection, one thread.

A row holds records that were sent together, packed. Its id is its partition's id and its first record's offset in one
number. So a partition lies together in one B-tree in the order of its offsets, and neither a second index nor a sort is
ever needed.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from keyledger.contracts.topics import FOREVER, Topic
from keyledger.eventlog.packing import Packed, Row
from keyledger.eventlog.port import LogUnavailable, NewRecord, OffsetOutOfRange, TopicMismatch

FORMAT: Final = 2
OFFSET_BITS: Final = 40
PAGE_BYTES: Final = 4096
WAL_PAGES: Final = 16_000
"""At which length of the write-ahead file (64 MB) an append copies it back itself. ``checkpoint`` spares it that."""
MAX_READ_BYTES: Final = 4 * 1024 * 1024
"""At which size a read ends, whatever number was asked for. One record always fits."""

# Plain SQL that also the SQLite of RHEL 9 (3.34) knows: no STRICT, no RETURNING.
SCHEMA: Final = (
    "CREATE TABLE topics (name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention_ms INTEGER NOT NULL)",
    """CREATE TABLE partitions (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL REFERENCES topics (name),
        number INTEGER NOT NULL,
        first_offset INTEGER NOT NULL DEFAULT 0,
        next_offset INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, number))""",
    """CREATE TABLE batches (
        id INTEGER PRIMARY KEY,
        timestamp INTEGER NOT NULL,
        count INTEGER NOT NULL,
        records BLOB NOT NULL)""",
    f"PRAGMA user_version = {FORMAT}",
)

READ: Final = """SELECT id, timestamp, count, records FROM batches
    WHERE id >= (SELECT max(id) FROM batches WHERE id <= ?) AND id < ? ORDER BY id"""
"""From the row on that holds an offset."""
LIMITED: Final = """SELECT p.id, p.first_offset, p.next_offset, t.retention_ms
    FROM partitions p JOIN topics t ON t.name = p.topic WHERE t.retention_ms != ?"""
FIRST_YOUNG: Final = "SELECT id FROM batches WHERE id >= ? AND id < ? AND timestamp >= ? ORDER BY id LIMIT 1"

Ends = dict[tuple[str, int], int]
"""By topic and partition: the offset its next record will get."""


class Send(Struct, frozen=True):
    """One batch that waits to be appended."""

    topic: str
    partition: int
    records: Sequence[NewRecord]
    rows: Sequence[Packed]


class Appended(Struct, frozen=True):
    """What became of each batch (the offset of its last record, or why it alone was refused), and what that made."""

    answers: list[int | LogUnavailable]
    ends: Ends
    size_bytes: int


class LogFile:
    """The log's file as one thread sees it. Every error of SQLite leaves as LogUnavailable."""

    def __init__(self, path: Path, *, busy_seconds: float) -> None:
        """Open the file and make its tables if it has none. Raises LogUnavailable."""
        self._path = path
        self._ids: dict[tuple[str, int], int] = {}
        self._data_version = -1
        with self._errors():
            # Made in one thread, used in another, never in two at once.
            self._db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        with self._errors():
            self._db.close()

    def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Make the missing ones and check the others; all or nothing. Raises TopicMismatch, LogUnavailable."""
        with self._errors(), self._transaction():
            for topic in topics:
                self._ensure(topic)

    def append(self, sends: Sequence[Send], timestamp: int) -> Appended:
        """Append every batch in one transaction, durable against the end of this process when this returns."""
        answers: list[int | LogUnavailable] = []
        ends: Ends = {}
        size_bytes = 0
        with self._errors(), self._transaction():
            for send in sends:
                place = (send.topic, send.partition)
                try:
                    partition_id = self._id(place)
                except LogUnavailable as error:
                    answers.append(error)
                    continue
                # Read under the write lock: another process may have appended since.
                first = ends[place] if place in ends else self._bounds(partition_id)[1]
                row_id = (partition_id << OFFSET_BITS) + first
                for row in send.rows:
                    values = (row_id, timestamp, row.count, row.records)
                    self._db.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", values)
                    row_id += row.count
                    size_bytes += len(row.records)
                ends[place] = first + len(send.records)
                answers.append(ends[place] - 1)
            self._db.executemany(
                "UPDATE partitions SET next_offset = ? WHERE id = ?",
                [(end, self._ids[place]) for place, end in ends.items()],
            )
        return Appended(answers, ends, size_bytes)

    def read(self, topic: str, partition: int, offset: int, max_records: int) -> tuple[list[Row], int]:
        """Return the rows that hold the records from the offset on, and the partition's end.

        Raises:
            OffsetOutOfRange, LogUnavailable
        """
        with self._errors(), self._transaction("DEFERRED"):
            partition_id = self._id((topic, partition))
            first, end = self._bounds(partition_id)
            if not first <= offset <= end:
                raise OffsetOutOfRange(f"{topic}/{partition} holds {first} to {end - 1}, asked for {offset}")
            if offset == end:
                return [], end
            base = partition_id << OFFSET_BITS
            found: list[Row] = []
            size_bytes = 0
            with closing(self._db.execute(READ, (base + offset, base + end))) as rows:
                for row_id, timestamp, count, records in rows:
                    found.append(Row(row_id - base, timestamp, records))
                    size_bytes += len(records)
                    if row_id - base + count >= offset + max_records or size_bytes >= MAX_READ_BYTES:
                        break
            return found, end

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset held and the next one. Raises LogUnavailable."""
        with self._errors():
            return self._bounds(self._id((topic, partition)))

    def changed_ends(self) -> Ends:
        """Return every partition's end if another connection wrote since the last call, else nothing."""
        with self._errors():
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version == self._data_version:
                return {}
            rows = self._db.execute("SELECT topic, number, next_offset FROM partitions").fetchall()
            # Only now: had the second query failed, the change would be forgotten.
            self._data_version = version
            return {(topic, number): end for topic, number, end in rows}

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before this offset. Raises LogUnavailable."""
        with self._errors(), self._transaction():
            partition_id = self._id((topic, partition))
            first, end = self._bounds(partition_id)
            self._delete(partition_id, max(first, min(before, end)))

    def checkpoint(self) -> None:
        """Copy back what stands in the write-ahead file, and sync it; neither readers nor appends wait for that."""
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def prune(self, now_ms: int, max_records: int) -> int:
        """Delete records that are older than their topic keeps, the oldest first; return how many.

        Deletes a prefix and stops at the first record that is young enough, so that what is held stays without gaps
        even where a clock was set back.
        """
        deleted = 0
        with self._errors(), self._transaction():
            for partition_id, first, end, retention_ms in self._db.execute(LIMITED, (FOREVER,)).fetchall():
                base = partition_id << OFFSET_BITS
                kept = base + end
                young = self._db.execute(FIRST_YOUNG, (base, kept, now_ms - retention_ms)).fetchone()
                if young is not None:
                    kept = max(young[0], base + first)  # of a row that was trimmed the beginning is gone
                kept = min(kept, base + first + max_records - deleted)
                self._delete(partition_id, kept - base)
                deleted += kept - base - first
        return deleted

    def _delete(self, partition_id: int, kept: int) -> None:
        """Move the partition's first offset; a row goes with its last record."""
        base = partition_id << OFFSET_BITS
        self._db.execute(
            "DELETE FROM batches WHERE id >= ? AND id < ? AND id + count <= ?", (base, base + kept, base + kept)
        )
        self._db.execute("UPDATE partitions SET first_offset = ? WHERE id = ?", (kept, partition_id))

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        # The end of the process loses nothing; a power cut may lose the last commits, never the file.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        with self._transaction():
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found not in (0, FORMAT):
                raise LogUnavailable(
                    f"{self._path} has format {found}, this version of Keyledger reads {FORMAT}: move the file away. "
                    "The relay fills the ledger's topics again; attempts and alerts stay in the old file"
                )
            if found == 0:
                for statement in SCHEMA:
                    self._db.execute(statement)

    def _ensure(self, topic: Topic) -> None:
        query = "SELECT partitions, retention_ms FROM topics WHERE name = ?"
        found = self._db.execute(query, (topic.name,)).fetchone()
        if found is None:
            self._db.execute("INSERT INTO topics VALUES (?, ?, ?)", (topic.name, topic.partitions, topic.retention_ms))
            self._db.executemany(
                "INSERT INTO partitions (topic, number) VALUES (?, ?)",
                [(topic.name, number) for number in range(topic.partitions)],
            )
        elif found != (topic.partitions, topic.retention_ms):
            raise TopicMismatch(
                f"{topic.name} has {found[0]} partitions and keeps {found[1]} ms, "
                f"must have {topic.partitions} and keep {topic.retention_ms}"
            )

    def _id(self, place: tuple[str, int]) -> int:
        if place not in self._ids:
            row = self._db.execute("SELECT id FROM partitions WHERE topic = ? AND number = ?", place).fetchone()
            if row is None:
                raise LogUnavailable(f"{place[0]} has no partition {place[1]} here: were its topics made?")
            # Kept for good: topics are never deleted.
            self._ids[place] = row[0]
        return self._ids[place]

    def _bounds(self, partition_id: int) -> tuple[int, int]:
        query = "SELECT first_offset, next_offset FROM partitions WHERE id = ?"
        first, end = self._db.execute(query, (partition_id,)).fetchone()
        return first, end

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LogUnavailable(f"{self._path}: {error}") from error
