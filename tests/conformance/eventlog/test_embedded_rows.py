"""Records share rows of the embedded log's file: no reader, and nobody who deletes, can tell."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from keyledger.contracts.topics import DAY_MS, Topic
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.limits import MAX_RECORD_BYTES
from keyledger.eventlog.logfile import LogFile
from keyledger.eventlog.packing import ROW_BYTES, ROW_RECORDS, unpack
from keyledger.eventlog.port import LogUnavailable, NewRecord, OffsetOutOfRange, Record
from keyledger.testing.eventlog_suite import numbered

SENDS = (1, 2, ROW_RECORDS - 1, ROW_RECORDS, ROW_RECORDS + 1, 1, 2 * ROW_RECORDS + 3)
COUNT = sum(SENDS)
NOW = [DAY_MS * 1_000]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = await EmbeddedLog.open(path, now=lambda: NOW[0])
    await opened.ensure_topics([Topic("t", 3, DAY_MS, "")])
    producer = await opened.producer()
    for partition in (0, 1, 2):
        first = 0
        for count in SENDS:
            await producer.send("t", partition, numbered(range(first, first + count)))
            first += count
    yield opened
    await opened.close()


@pytest.mark.usefixtures("log")
async def test_every_offset_can_be_read_from_whatever_row_it_stands_in(path: Path) -> None:
    with closing(LogFile(path, busy_seconds=60)) as file:
        for offset in range(COUNT + 1):
            for most in (1, 7, ROW_RECORDS, COUNT):
                found = _read(file, 1, offset, most)
                assert _numbers(found) == list(range(offset, min(offset + most, COUNT)))
                assert [record.offset for record in found] == _numbers(found)
        with pytest.raises(OffsetOutOfRange):
            file.read("t", 1, COUNT + 1, 1)


async def test_any_offset_can_become_the_first_one(log: EmbeddedLog, path: Path) -> None:
    with closing(LogFile(path, busy_seconds=60)) as file:
        for before in range(COUNT + 1):
            await log.trim("t", 1, before)
            assert await log.bounds("t", 1) == (before, COUNT)
            assert _numbers(_read(file, 1, before, COUNT)) == list(range(before, COUNT))
            if before:
                with pytest.raises(OffsetOutOfRange):
                    file.read("t", 1, before - 1, 1)
        for partition in (0, 2):
            assert _numbers(_read(file, partition, 0, COUNT)) == list(range(COUNT))
    assert await (await log.producer()).send("t", 1, numbered([COUNT])) == COUNT


async def test_a_row_goes_with_its_last_record_also_where_pruning_stops_inside_it(log: EmbeddedLog, path: Path) -> None:
    await log.trim("t", 0, 5)
    NOW[0] += 2 * DAY_MS * 1_000
    with closing(LogFile(path, busy_seconds=60)) as file:
        deleted: list[int] = []
        while not deleted or deleted[-1]:
            deleted.append(file.prune(NOW[0] // 1_000, 7))
            for partition in (0, 1, 2):
                first, end = file.bounds("t", partition)
                assert _numbers(_read(file, partition, first, COUNT)) == list(range(first, end))
        assert sum(deleted) == 3 * COUNT - 5
        assert max(deleted) == 7
    assert _rows(path) == []


async def test_pruning_leaves_what_is_young_of_a_row_that_was_trimmed(log: EmbeddedLog) -> None:
    await log.trim("t", 0, 5)
    assert await log.prune() == 0
    assert await log.bounds("t", 0) == (5, COUNT)


async def test_rows_are_as_full_as_they_may_be_and_no_fuller(path: Path) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([Topic("t", 1, DAY_MS, "")])
    producer = await log.producer()
    sizes = [10] * (ROW_RECORDS + 10) + [ROW_BYTES // 3] * 8 + [MAX_RECORD_BYTES - 100, 1, MAX_RECORD_BYTES - 100]
    await producer.send("t", 0, [NewRecord(None, bytes(size)) for size in sizes])
    with closing(LogFile(path, busy_seconds=60)) as file:
        found: list[Record] = []
        while len(found) < len(sizes):
            found += _read(file, 0, len(found), len(sizes))
    assert [len(record.value or b"") for record in found] == sizes
    counts = _rows(path)
    assert [count for count, _ in counts][:1] == [ROW_RECORDS]
    assert len(counts) < len(sizes) // 3
    assert all(count == 1 or size <= ROW_BYTES for count, size in counts)
    await log.close()


async def test_a_record_that_is_too_large_is_named_and_nothing_of_its_batch_is_kept(log: EmbeddedLog) -> None:
    batch = [*numbered(range(ROW_RECORDS + 20)), NewRecord(None, bytes(MAX_RECORD_BYTES + 1))]
    with pytest.raises(ValueError, match=f"record {ROW_RECORDS + 20} has"):
        await (await log.producer()).send("t", 0, batch)
    assert await log.bounds("t", 0) == (0, COUNT)


async def test_a_file_that_kept_a_row_for_each_record_is_refused_with_what_to_do(path: Path) -> None:
    with closing(sqlite3.connect(path)) as former:
        former.execute("PRAGMA user_version = 1")
    with pytest.raises(LogUnavailable, match=r"format 1, .* reads 2: move the file away\. The relay fills"):
        await EmbeddedLog.open(path)


def _read(file: LogFile, partition: int, offset: int, max_records: int) -> list[Record]:
    rows, _ = file.read("t", partition, offset, max_records)
    return unpack("t", partition, rows, offset, max_records)


def _numbers(records: list[Record]) -> list[int]:
    return [int(record.value or b"") for record in records]


def _rows(path: Path) -> list[tuple[int, int]]:
    """Return each row's count of records and bytes."""
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT count, length(records) FROM batches ORDER BY id").fetchall()
