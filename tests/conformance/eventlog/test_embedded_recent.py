"""The embedded log's last batches in memory are what its file holds: a reader cannot tell one from the other."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyledger.contracts.topics import DAY_MS, Topic
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.port import NewRecord, OffsetOutOfRange, Record
from keyledger.eventlog.recent import KEPT_BYTES, KEPT_RECORDS, Recent

PLACE = ("t", 0)
NOW = [DAY_MS * 1_000]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = await EmbeddedLog.open(tmp_path / "log.db", now=lambda: NOW[0], poll_seconds=3600)
    await opened.ensure_topics([Topic("t", 1, DAY_MS, "")])
    yield opened
    await opened.close()


def numbered(first: int, count: int) -> list[NewRecord]:
    return [NewRecord(b"k", b"%d" % number, (("n", b"%d" % number),)) for number in range(first, first + count)]


async def test_memory_and_file_give_the_same_records(log: EmbeddedLog, tmp_path: Path) -> None:
    producer = await log.producer()
    for first in range(0, 9, 3):
        await producer.send("t", 0, numbered(first, 3))
    other = await EmbeddedLog.open(tmp_path / "log.db")
    try:
        for offset in range(9):
            for most in (1, 2, 100):
                assert await log.read("t", 0, offset, most) == await other.read("t", 0, offset, most)
    finally:
        await other.close()


async def test_what_another_connection_wrote_in_between_is_not_skipped(log: EmbeddedLog, tmp_path: Path) -> None:
    mine = await log.producer()
    await mine.send("t", 0, numbered(0, 2))
    other = await EmbeddedLog.open(tmp_path / "log.db")
    try:
        await (await other.producer()).send("t", 0, numbered(2, 2))
    finally:
        await other.close()
    await mine.send("t", 0, numbered(4, 2))
    assert _values(await log.read("t", 0, 1, 100)) == [b"1", b"2", b"3", b"4", b"5"]


async def test_what_was_pruned_is_gone_from_memory_too(log: EmbeddedLog) -> None:
    await (await log.producer()).send("t", 0, numbered(0, 3))
    NOW[0] += 2 * DAY_MS * 1_000
    assert await log.prune() == 3
    with pytest.raises(OffsetOutOfRange):
        await log.read("t", 0, 0, 100)


async def test_what_was_trimmed_is_gone_from_memory_too(log: EmbeddedLog) -> None:
    await (await log.producer()).send("t", 0, numbered(0, 3))
    await log.trim("t", 0, 2)
    with pytest.raises(OffsetOutOfRange):
        await log.read("t", 0, 1, 100)
    assert _values(await log.read("t", 0, 2, 100)) == [b"2"]


def test_a_batch_that_is_too_long_to_keep_is_read_from_the_file() -> None:
    recent = Recent()
    recent.add(PLACE, 0, 1, numbered(0, KEPT_RECORDS + 1))
    assert recent.read(PLACE, 0, 10) == []
    recent.add(PLACE, KEPT_RECORDS + 1, 1, [NewRecord(None, b"x" * (KEPT_BYTES + 1))])
    assert recent.read(PLACE, KEPT_RECORDS + 1, 10) == []
    recent.add(PLACE, KEPT_RECORDS + 2, 1, numbered(0, 2))
    assert [one.offset for one in recent.read(PLACE, KEPT_RECORDS + 2, 10)] == [KEPT_RECORDS + 2, KEPT_RECORDS + 3]


def _values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]
