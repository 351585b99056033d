import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from keyledger.contracts.topics import DAY_MS, FOREVER, Topic
from keyledger.eventlog.embedded import PRUNE_RECORDS, EmbeddedLog
from keyledger.eventlog.logfile import PAGE_BYTES, WAL_PAGES
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord
from keyledger.testing.eventlog_suite import Connect, EventLogSuite, Forget, numbered, read, values


class Now:
    """A clock that only moves when told, in microseconds."""

    def __init__(self) -> None:
        self.microseconds = 1_750_000_000_000_000

    def __call__(self) -> int:
        return self.microseconds

    def advance(self, milliseconds: int) -> None:
        self.microseconds += milliseconds * 1_000


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "log.db"


class TestEmbeddedLog(EventLogSuite):
    @pytest.fixture
    def connect(self, path: Path, now: Now) -> Connect:
        async def connect() -> EventLog:
            return await EmbeddedLog.open(path, now=now)

        return connect

    @pytest.fixture
    def forget(self, now: Now) -> Forget:
        async def forget(log: EventLog, topic: str, partition: int) -> None:
            assert isinstance(log, EmbeddedLog)
            assert (await log.bounds(topic, partition))[1] > 0
            now.advance(2 * DAY_MS)
            await log.prune()

        return forget


async def test_only_what_is_older_than_its_topic_keeps_is_pruned(path: Path, now: Now) -> None:
    log = await EmbeddedLog.open(path, now=now)
    await log.ensure_topics([Topic("day", 1, DAY_MS, ""), Topic("ever", 1, FOREVER, "")])
    producer = await log.producer()
    for topic in ("day", "ever"):
        await producer.send(topic, 0, numbered(range(PRUNE_RECORDS + 10)))  # more than one transaction deletes
    now.advance(DAY_MS - 1)
    for topic in ("day", "ever"):
        await producer.send(topic, 0, numbered([1, 2, 3]))
    assert await log.prune() == 0
    now.advance(2)
    assert await log.prune() == PRUNE_RECORDS + 10
    assert await log.prune() == 0
    assert await log.bounds("day", 0) == (PRUNE_RECORDS + 10, PRUNE_RECORDS + 13)
    assert await log.bounds("ever", 0) == (0, PRUNE_RECORDS + 13)
    now.advance(400 * DAY_MS)
    assert await log.prune() == 3
    assert await log.bounds("ever", 0) == (0, PRUNE_RECORDS + 13)
    await log.close()


async def test_a_clock_that_was_set_back_leaves_no_gap(path: Path, now: Now) -> None:
    log = await EmbeddedLog.open(path, now=now)
    await log.ensure_topics([Topic("day", 1, DAY_MS, "")])
    producer = await log.producer()
    await producer.send("day", 0, numbered([0]))
    now.advance(-DAY_MS)
    await producer.send("day", 0, numbered([1]))  # stamped as if it were the older one
    now.advance(DAY_MS + 1)
    assert await log.prune() == 0
    reader = await log.reader("day", 0, 0)
    assert values(await read(reader, 2)) == ["0", "1"]
    await log.close()


async def test_a_send_that_cannot_be_does_not_take_its_batch_mates_down(path: Path) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([Topic("t", 1, DAY_MS, "")])
    producer = await log.producer()
    answers = await asyncio.gather(
        producer.send("t", 0, numbered([0])),
        producer.send("unknown", 0, numbered([0])),
        producer.send("t", 1, numbered([0])),
        producer.send("t", 0, [NewRecord("text", b"")]),  # type: ignore[arg-type] # what a caller may get wrong
        producer.send("t", 0, [NewRecord(None, b"", (("\ud800", b"half a character"),))]),
        producer.send("t", 0, numbered([1])),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [
        int,
        LogUnavailable,
        LogUnavailable,
        TypeError,
        UnicodeEncodeError,
        int,
    ]
    assert await log.bounds("t", 0) == (0, 2)
    await log.close()


async def test_a_caller_that_gives_up_leaves_the_others_their_answers(path: Path) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([Topic("t", 1, DAY_MS, "")])
    producer = await log.producer()
    sends = [asyncio.create_task(producer.send("t", 0, numbered([number]))) for number in range(3)]
    await asyncio.sleep(0)
    sends[1].cancel()
    first, second, third = await asyncio.gather(*sends, return_exceptions=True)
    assert (first, third) == (0, 2)
    assert isinstance(second, asyncio.CancelledError)
    await log.close()


async def test_what_was_accepted_before_closing_is_finished(path: Path) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([Topic("t", 1, DAY_MS, "")])
    producer = await log.producer()
    written = asyncio.create_task(producer.send("t", 0, numbered(range(5_000))))
    for _ in range(2):  # let it be handed in, and its transaction begin
        await asyncio.sleep(0)
    waiting = asyncio.create_task(producer.send("t", 0, numbered([5_000])))
    await asyncio.sleep(0)
    await log.close()
    assert (await written, await waiting) == (4_999, 5_000)
    again = await EmbeddedLog.open(path)
    assert await again.bounds("t", 0) == (0, 5_001)
    await again.close()


async def test_closing_ends_what_waits_and_refuses_what_comes(path: Path) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([Topic("t", 1, DAY_MS, "")])
    producer, reader = await log.producer(), await log.reader("t", 0, 0)
    waiting = asyncio.create_task(reader.poll(max_records=1, timeout_seconds=30))
    await asyncio.sleep(0)  # let it begin
    await log.close()
    with pytest.raises(LogUnavailable):
        await waiting
    for refused in (producer.send("t", 0, numbered([1])), log.bounds("t", 0), log.ensure_topics([]), log.prune()):
        with pytest.raises(LogUnavailable):
            await refused
    await log.close()


async def test_nobody_else_may_read_the_file(path: Path) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([Topic("t", 1, DAY_MS, "")])
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["log.db", "log.db-shm", "log.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await log.close()


async def test_a_file_of_another_kind_or_format_is_refused(tmp_path: Path) -> None:
    text, later = tmp_path / "text", tmp_path / "later"
    text.write_text("not a database, and long enough to be read as the header of one" * 20)
    with sqlite3.connect(later) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    for path, why in ((text, "not a database"), (later, "format 99"), (text / "below", "below")):
        with pytest.raises(LogUnavailable, match=why):
            await EmbeddedLog.open(path)


async def test_the_write_ahead_file_is_copied_back_while_appends_go_on(path: Path) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([Topic("t", 1, DAY_MS, "")])
    producer = await log.producer()
    before, ahead = _size(path), path.with_name(path.name + "-wal")
    # No longer than half of the length at which an append would copy it back itself.
    while _size(ahead) < (WAL_PAGES * PAGE_BYTES) // 2:
        await producer.send("t", 0, [NewRecord(None, bytes(64 * 1024))])
    async with asyncio.timeout(120):
        while _size(path) == before:  # noqa: ASYNC110 - it grows when something is copied back, not before
            await asyncio.sleep(0.01)
    await log.close()


def _size(path: Path) -> int:
    return path.stat().st_size
