import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keyledger.contracts.auth_event import MAX_RECORD_BYTES, AuthAttempt, decode_attempts, partition_of
from keyledger.contracts.topics import AUTH, AUTH_BY_SOURCE, TOPICS
from keyledger.detection.records import read_attempts
from keyledger.eventlog.port import LogUnavailable, NewRecord, Record
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.auth_events import AuthEventSink

DEADLINE_SECONDS = 120


class Broker(MemoryLog):
    """A log that fails when told to, before or after it took a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []
        self.sends = 0
        self.largest_batch = 0

    async def append(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        self.sends += 1
        self.largest_batch = max(self.largest_batch, len(records))
        failure = self.failures.pop() if self.failures else None
        if failure == "before":
            raise LogUnavailable("lost before")
        offset = await super().append(topic, partition, records)
        if failure == "after":
            raise LogUnavailable("written, but the answer was lost")
        return offset

    def all(self, topic: str) -> list[Record]:
        return [record for partition in range(4) for record in self.held(topic, partition)]


@pytest.fixture
async def broker() -> Broker:
    broker = Broker()
    await broker.ensure_topics(TOPICS)
    return broker


def sink_of(broker: Broker, **more: Any) -> AuthEventSink:
    return AuthEventSink(broker, node="node-1", boot="b00t", clock=SystemClock(), **more)


@asynccontextmanager
async def running(sink: AuthEventSink) -> AsyncIterator[None]:
    """Run the sink, and at the end have it send what is left."""
    task = asyncio.create_task(sink.run())
    await asyncio.sleep(0)
    yield
    task.cancel()
    await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - a condition of many parts
            await asyncio.sleep(0.001)


def attempt(sink: AuthEventSink, number: int = 0, **more: Any) -> AuthAttempt:
    fields = {"key_id": f"key_{number}", "source": f"192.0.2.{number % 256}", **more}
    return AuthAttempt(id=sink.next_id(), at=number, node="node-1", surface="verify", code="valid", **fields)


async def test_an_attempt_is_on_both_topics_under_one_id_each_where_its_reader_looks(broker: Broker) -> None:
    sink = sink_of(broker)
    async with running(sink):
        sent = [attempt(sink, number) for number in range(50)]
        for one in sent:
            sink.record(one)
    for topic, field in ((AUTH, "key_id"), (AUTH_BY_SOURCE, "source")):
        found = {}
        for partition in range(topic.partitions):
            for record in broker.held(topic.name, partition):
                for one in read_attempts(record).attempts:
                    assert partition_of(getattr(one, field), topic.partitions) == partition
                    found[one.id] = one
        assert found == {one.id: one for one in sent}
    assert (sink.dropped, sink.waiting, sink.acknowledged) == (0, 0, 100)


async def test_one_reader_sees_all_attempts_from_an_ipv6_network(broker: Broker) -> None:
    sink = sink_of(broker)
    async with running(sink):
        for number in range(50):
            sink.record(attempt(sink, number, source=f"2001:db8:1:2::{number:x}"))
    filled = [number for number in range(AUTH_BY_SOURCE.partitions) if broker.held(AUTH_BY_SOURCE.name, number)]
    assert len(filled) == 1


async def test_records_of_each_partition_are_numbered_without_a_gap(broker: Broker) -> None:
    sink = sink_of(broker)
    async with running(sink):
        for number in range(200):
            sink.record(attempt(sink, number))
            if number % 10 == 0:
                await until(lambda: sink.waiting == 0)
    for topic in (AUTH, AUTH_BY_SOURCE):
        for partition in range(topic.partitions):
            read = [read_attempts(record) for record in broker.held(topic.name, partition)]
            assert [record.number for record in read] == list(range(1, len(read) + 1))
            assert {record.sender for record in read} <= {"node-1.b00t"}


async def test_what_came_together_travels_together(broker: Broker) -> None:
    sink = sink_of(broker)
    async with running(sink):
        for number in range(1000):
            sink.record(attempt(sink, number, key_id="key_1", source="192.0.2.1"))
    assert len(broker.all(AUTH.name)) == 1
    assert len(broker.all(AUTH_BY_SOURCE.name)) == 1


async def test_an_outage_changes_neither_order_nor_numbers(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.failures = ["before", "before", "before"]
    sink = sink_of(broker)
    with caplog.at_level(logging.WARNING):
        async with running(sink):
            for number in range(100):
                sink.record(attempt(sink, number, key_id="key_1", source="192.0.2.1"))
                if number % 25 == 0:
                    await until(lambda: sink.waiting == 0)
    read = [read_attempts(record) for record in broker.all(AUTH.name)]
    assert [record.number for record in read] == list(range(1, len(read) + 1))
    assert [one.at for record in read for one in record.attempts] == list(range(100))
    assert "lost before" in caplog.text


async def test_a_lost_answer_makes_a_resend_that_its_number_gives_away(broker: Broker) -> None:
    broker.failures = ["after", "after"]
    sink = sink_of(broker)
    async with running(sink):
        sink.record(attempt(sink, 1, key_id="key_1", source="192.0.2.1"))
    for topic in (AUTH, AUTH_BY_SOURCE):
        assert [read_attempts(record).number for record in broker.all(topic.name)] == [1, 1]
        assert len({record.value for record in broker.all(topic.name)}) == 1


async def test_while_the_log_is_away_recording_waits_for_nothing_and_drops_are_counted(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.unavailable = True
    sink = sink_of(broker, max_buffered=10)
    with caplog.at_level(logging.ERROR):
        async with running(sink):
            for number in range(15):
                sink.record(attempt(sink, number))
            assert (sink.dropped, sink.waiting) == (5, 20)
            broker.unavailable = False
            await until(lambda: sink.waiting == 0)
            sink.record(attempt(sink, 99))
            await until(lambda: sink.waiting == 0)
    assert "5 attempts were dropped" in caplog.text
    kept = {one.at for record in broker.all(AUTH.name) for one in decode_attempts(record.value or b"")}
    assert kept == {*range(10), 99}


async def test_no_record_is_larger_than_the_limit_and_none_is_left_behind(broker: Broker) -> None:
    sink = sink_of(broker)
    wide = "x" * 1000
    async with running(sink):
        for number in range(1500):
            sink.record(attempt(sink, number, key_id="key_1", source="192.0.2.1", request_id=wide))
    records = broker.all(AUTH.name)
    sizes = [len(record.value or b"") for record in records]
    assert max(sizes) <= MAX_RECORD_BYTES
    assert min(sizes[:-1]) > MAX_RECORD_BYTES - 2000
    assert [one.at for record in records for one in decode_attempts(record.value or b"")] == list(range(1500))


async def test_an_attempt_that_fits_into_no_record_is_a_counted_drop(broker: Broker) -> None:
    sink = sink_of(broker)
    async with running(sink):
        sink.record(attempt(sink, 1, request_id="x" * MAX_RECORD_BYTES))
    assert (sink.dropped, sink.waiting) == (1, 0)


async def test_a_stop_waits_for_what_is_left_and_a_sink_that_is_started_again_goes_on_counting(broker: Broker) -> None:
    sink = sink_of(broker)
    for expected in (1, 2):
        async with running(sink):
            sink.record(attempt(sink, 1, key_id="key_1", source="192.0.2.1"))
        assert sink.waiting == 0
        assert [read_attempts(record).number for record in broker.all(AUTH.name)] == list(range(1, expected + 1))
