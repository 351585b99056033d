# ruff: noqa: PLR2004, S101 - shipped tests: a name is its sentence, literals are the example, assert asserts
"""What every log promises, as tests that each backend inherits.

```python
class TestMyLog(EventLogSuite):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        async def connect() -> EventLog: ...  # each call: a new handle on the same log
        return connect

    @pytest.fixture
    def forget(self) -> Forget:
        async def forget(log: EventLog, topic: str, partition: int) -> None: ...  # delete what the partition holds
        return forget
```
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from keyledger.contracts.cloudevents import Headers
from keyledger.contracts.topics import DAY_MS, Topic
from keyledger.eventlog.limits import MAX_RECORD_BYTES
from keyledger.eventlog.port import EventLog, NewRecord, OffsetOutOfRange, Reader, Record, TopicMismatch

Connect = Callable[[], Awaitable[EventLog]]
Forget = Callable[[EventLog, str, int], Awaitable[None]]

DEADLINE_SECONDS = 120.0
SOON_SECONDS = 0.05


def numbered(numbers: Sequence[int], prefix: str = "") -> list[NewRecord]:
    """Return a record for each number, which its value says."""
    return [NewRecord(None, f"{prefix}{number}".encode()) for number in numbers]


def values(records: Sequence[Record]) -> list[str]:
    """Return what ``numbered`` wrote."""
    return [(record.value or b"").decode() for record in records]


async def read(reader: Reader, count: int, *, max_records: int = 1_000) -> list[Record]:
    """Return the next ``count`` records, and fail when they do not come."""
    found: list[Record] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(found) < count:
            most = min(max_records, count - len(found))
            page = await reader.poll(max_records=most, timeout_seconds=1.0)
            assert len(page) <= most
            found += page
    return found


class EventLogSuite:
    """Inherit it, and say in ``connect`` how to reach the log, in ``forget`` how what it holds gets too old."""

    @pytest.fixture
    def connect(self) -> Connect:
        raise NotImplementedError

    @pytest.fixture
    def forget(self) -> Forget:
        raise NotImplementedError

    @pytest.fixture
    async def log(self, connect: Connect) -> AsyncIterator[EventLog]:
        log = await connect()
        yield log
        await log.close()

    @pytest.fixture
    async def topic(self, log: EventLog) -> str:
        topic = Topic(f"suite.{uuid.uuid4().hex}", 3, DAY_MS, "this test's own")
        await log.ensure_topics([topic])
        return topic.name

    async def test_a_reader_gets_what_was_sent_in_the_order_of_sending(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        for numbers in ([0], [1, 2, 3], [4], [5, 6]):
            await producer.send(topic, 0, numbered(numbers))
        assert values(await read(reader, 7)) == ["0", "1", "2", "3", "4", "5", "6"]
        await producer.close()
        await reader.close()

    async def test_offsets_rise_and_send_answers_with_the_last_ones(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        answered = [await producer.send(topic, 0, numbered(range(size))) for size in (1, 3, 2)]
        records = await read(reader, 6)
        offsets = [record.offset for record in records]
        assert offsets == sorted(set(offsets))
        assert answered == [offsets[0], offsets[3], offsets[5]]
        assert {(record.topic, record.partition) for record in records} == {(topic, 0)}
        await producer.close()
        await reader.close()

    async def test_a_record_is_read_as_it_was_written(self, log: EventLog, topic: str) -> None:
        every_byte = bytes(range(256))
        headers: Headers = (("ce_id", b"1"), ("ce_empty", b""), ("ce_id", every_byte), ("ce_naïve", "ü".encode()))
        written = [
            NewRecord(None, b""),
            NewRecord(b"", b"empty key"),
            NewRecord(every_byte, every_byte, headers),
            NewRecord(b"key", b"no headers"),
        ]
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        await producer.send(topic, 0, written)
        found = await read(reader, len(written))
        assert [NewRecord(record.key, record.value or b"", record.headers) for record in found] == written
        assert all(record.value is not None for record in found)
        await producer.close()
        await reader.close()

    async def test_the_timestamp_is_the_time_of_sending_in_milliseconds(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        await producer.send(topic, 0, numbered([0, 1]))
        first, second = await read(reader, 2)
        assert 1_600_000_000_000 < first.timestamp <= second.timestamp < 10_000_000_000_000
        await producer.close()
        await reader.close()

    async def test_ten_thousand_records_stay_one_ordered_batch(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        written = [NewRecord(b"k", b"%06d" % number + bytes(200), (("n", b"%d" % number),)) for number in range(10_000)]
        last = await producer.send(topic, 0, written)
        records = await read(reader, 10_000)
        assert [record.value for record in records] == [record.value for record in written]
        assert records[-1].offset == last
        await producer.close()
        await reader.close()

    async def test_the_largest_records_pass_and_a_larger_one_is_refused_alone(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        largest = NewRecord(None, bytes(MAX_RECORD_BYTES))
        await producer.send(topic, 0, [largest, NewRecord(None, bytes(256 * 1024)), largest])
        with pytest.raises(ValueError, match="bytes"):
            await producer.send(topic, 0, [NewRecord(None, b"fits"), NewRecord(None, bytes(MAX_RECORD_BYTES + 1))])
        await producer.send(topic, 0, numbered([9]))
        sizes = [len(record.value or b"") for record in await read(reader, 4)]
        assert sizes == [MAX_RECORD_BYTES, 256 * 1024, MAX_RECORD_BYTES, 1]
        await producer.close()
        await reader.close()

    async def test_an_empty_batch_is_refused(self, log: EventLog, topic: str) -> None:
        producer = await log.producer()
        with pytest.raises(ValueError, match="at least one"):
            await producer.send(topic, 0, [])
        await producer.close()

    async def test_a_log_can_be_replayed_from_every_offset(self, log: EventLog, topic: str) -> None:
        producer, whole = await log.producer(), await log.reader(topic, 0, 0)
        await producer.send(topic, 0, numbered(range(10)))
        offsets = [record.offset for record in await read(whole, 10)]
        for number, offset in enumerate(offsets):
            reader = await log.reader(topic, 0, offset)
            expected = [str(left) for left in range(number, 10)]
            assert values(await read(reader, 10 - number, max_records=4)) == expected
            await reader.close()
        await producer.close()
        await whole.close()

    async def test_two_readers_do_not_disturb_each_other(self, log: EventLog, topic: str) -> None:
        producer = await log.producer()
        await producer.send(topic, 0, numbered(range(20)))
        fast, slow = await log.reader(topic, 0, 0), await log.reader(topic, 0, 0)
        assert values(await read(fast, 10)) == [str(number) for number in range(10)]
        assert values(await read(slow, 3, max_records=1)) == ["0", "1", "2"]
        await fast.close()
        assert values(await read(slow, 17)) == [str(number) for number in range(3, 20)]
        await producer.close()
        await slow.close()

    async def test_a_waiting_reader_is_woken_by_a_record(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        loop = asyncio.get_running_loop()
        assert await reader.poll(max_records=10, timeout_seconds=SOON_SECONDS) == []
        waiting = asyncio.create_task(reader.poll(max_records=10, timeout_seconds=DEADLINE_SECONDS))
        started = loop.time()
        await producer.send(topic, 0, numbered([7]))
        assert values(await waiting) == ["7"]
        assert loop.time() - started < DEADLINE_SECONDS / 3
        await producer.close()
        await reader.close()

    async def test_a_poll_that_finds_nothing_ends_at_its_timeout(self, log: EventLog, topic: str) -> None:
        reader = await log.reader(topic, 0, 0)
        await reader.poll(max_records=10, timeout_seconds=SOON_SECONDS)  # a broker's first one connects
        started = asyncio.get_running_loop().time()
        assert await reader.poll(max_records=10, timeout_seconds=SOON_SECONDS) == []
        assert SOON_SECONDS * 0.9 <= asyncio.get_running_loop().time() - started < DEADLINE_SECONDS
        await reader.close()

    async def test_a_poll_that_is_cancelled_loses_nothing(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        for number in range(20):
            polling = asyncio.create_task(reader.poll(max_records=10, timeout_seconds=DEADLINE_SECONDS))
            for _ in range(number):
                await asyncio.sleep(0)
            # Else it was faster than the cancelling, and what it found counts.
            if polling.cancel():
                await asyncio.wait([polling])
            await producer.send(topic, 0, numbered([number]))
            assert values(await read(reader, 1)) == [str(number)]
        await producer.close()
        await reader.close()

    async def test_bounds_are_the_first_offset_and_the_next(self, log: EventLog, topic: str) -> None:
        producer = await log.producer()
        assert await log.bounds(topic, 0) == (0, 0)
        last = await producer.send(topic, 0, numbered(range(5)))
        assert await log.bounds(topic, 0) == (0, last + 1)
        assert await log.bounds(topic, 1) == (0, 0)
        await producer.close()

    async def test_a_reader_at_the_end_waits_and_one_beyond_it_is_refused(self, log: EventLog, topic: str) -> None:
        producer = await log.producer()
        await producer.send(topic, 0, numbered(range(5)))
        _, end = await log.bounds(topic, 0)
        at_end, beyond = await log.reader(topic, 0, end), await log.reader(topic, 0, end + 1)
        assert await at_end.poll(max_records=10, timeout_seconds=SOON_SECONDS) == []
        for _ in range(2):  # and it stays so
            with pytest.raises(OffsetOutOfRange):
                await beyond.poll(max_records=10, timeout_seconds=DEADLINE_SECONDS)
        await producer.send(topic, 0, numbered([5]))
        assert values(await read(at_end, 1)) == ["5"]
        await producer.close()
        await at_end.close()
        await beyond.close()

    async def test_a_reader_whose_place_was_deleted_is_refused_and_offsets_go_on(
        self, log: EventLog, topic: str, forget: Forget
    ) -> None:
        producer, late = await log.producer(), await log.reader(topic, 0, 0)
        end = await producer.send(topic, 0, numbered(range(5))) + 1
        await producer.send(topic, 1, numbered(range(2)))
        assert values(await read(late, 2)) == ["0", "1"]
        await forget(log, topic, 0)
        assert await log.bounds(topic, 0) == (end, end)
        below, at_end = await log.reader(topic, 0, 2), await log.reader(topic, 0, end)
        with pytest.raises(OffsetOutOfRange):
            await below.poll(max_records=10, timeout_seconds=DEADLINE_SECONDS)
        assert await producer.send(topic, 0, numbered([5])) == end
        assert values(await read(at_end, 1)) == ["5"]
        for one in (producer, late, below, at_end):
            await one.close()

    async def test_what_stands_before_an_offset_is_deleted_and_the_rest_keeps_its_offsets(
        self, log: EventLog, topic: str
    ) -> None:
        producer = await log.producer()
        await producer.send(topic, 0, numbered(range(5)))
        await producer.send(topic, 1, numbered([7]))
        whole = await log.reader(topic, 0, 0)
        offsets = [record.offset for record in await read(whole, 5)]
        await whole.close()
        for _again in range(2):
            await log.trim(topic, 0, offsets[3])
            reader = await log.reader(topic, 0, offsets[3])
            assert values(await read(reader, 2)) == ["3", "4"]
            await reader.close()
        _, end = await log.bounds(topic, 0)
        await log.trim(topic, 0, end)
        assert await log.bounds(topic, 0) == (end, end)
        assert await producer.send(topic, 0, numbered([5])) == end
        assert (await log.bounds(topic, 1))[0] == 0
        await producer.close()

    async def test_topics_can_be_ensured_again_and_keep_their_records(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        await producer.send(topic, 0, numbered([1]))
        await log.ensure_topics([Topic(topic, 3, DAY_MS, "another purpose is no other topic")])
        await log.ensure_topics([])
        assert values(await read(reader, 1)) == ["1"]
        await producer.close()
        await reader.close()

    @pytest.mark.parametrize(("partitions", "retention_ms"), [(4, DAY_MS), (2, DAY_MS), (3, 2 * DAY_MS), (3, -1)])
    async def test_a_topic_with_other_settings_is_refused(
        self, log: EventLog, topic: str, partitions: int, retention_ms: int
    ) -> None:
        with pytest.raises(TopicMismatch, match=topic):
            await log.ensure_topics([Topic(topic, partitions, retention_ms, "")])

    async def test_producers_interleave_and_each_keeps_its_order(self, log: EventLog, topic: str) -> None:
        reader = await log.reader(topic, 0, 0)

        async def produce(name: str) -> None:
            producer = await log.producer()
            for first in range(0, 200, 5):
                await producer.send(topic, 0, numbered(range(first, first + 5), name))
            await producer.close()

        await asyncio.gather(produce("a"), produce("b"))
        found = values(await read(reader, 400))
        for name in "ab":
            assert [value[1:] for value in found if value[0] == name] == [str(number) for number in range(200)]
        # No batch is torn: five of one producer always stand together.
        assert all(len({value[0] for value in found[first : first + 5]}) == 1 for first in range(0, 400, 5))
        await reader.close()

    async def test_sends_that_were_begun_in_order_are_written_in_order(self, log: EventLog, topic: str) -> None:
        producer, reader = await log.producer(), await log.reader(topic, 0, 0)
        sends = [asyncio.create_task(producer.send(topic, 0, numbered([number]))) for number in range(100)]
        answered, found = await asyncio.gather(*sends), await read(reader, 100)
        assert answered == [record.offset for record in found]
        assert values(found) == [str(number) for number in range(100)]
        await producer.close()
        await reader.close()

    async def test_partitions_have_offsets_and_records_of_their_own(self, log: EventLog, topic: str) -> None:
        producer = await log.producer()
        for partition in (2, 0, 1, 2):
            await producer.send(topic, partition, numbered([partition, partition + 10]))
        for partition, count in ((0, 2), (1, 2), (2, 4)):
            reader = await log.reader(topic, partition, 0)
            found = await read(reader, count)
            assert values(found)[:2] == [str(partition), str(partition + 10)]
            assert {record.partition for record in found} == {partition}
            assert await log.bounds(topic, partition) == (0, count)
            await reader.close()
        await producer.close()

    async def test_what_was_acknowledged_is_there_after_reopening(
        self, log: EventLog, topic: str, connect: Connect
    ) -> None:
        producer = await log.producer()
        last = await producer.send(topic, 1, numbered(range(100)))
        await producer.close()
        await log.close()
        again = await connect()
        await again.ensure_topics([Topic(topic, 3, DAY_MS, "")])
        producer, reader = await again.producer(), await again.reader(topic, 1, 0)
        assert await producer.send(topic, 1, numbered([100])) > last
        assert values(await read(reader, 101)) == [str(number) for number in range(101)]
        await producer.close()
        await reader.close()
        await again.close()

    async def test_another_handle_sees_what_is_appended_while_it_waits(
        self, log: EventLog, topic: str, connect: Connect
    ) -> None:
        other = await connect()
        producer, reader = await log.producer(), await other.reader(topic, 0, 0)
        assert await reader.poll(max_records=10, timeout_seconds=SOON_SECONDS) == []
        waiting = asyncio.create_task(reader.poll(max_records=10, timeout_seconds=DEADLINE_SECONDS))
        await producer.send(topic, 0, numbered([1]))
        assert values(await waiting) == ["1"]
        await producer.close()
        await reader.close()
        await other.close()
