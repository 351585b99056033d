"""What the relay must not follow: another ledger's topics, and a ledger that forgot what it had published."""

import asyncio
from collections.abc import Sequence

import pytest

from keyledger.contracts.envelope import Entry
from keyledger.contracts.topics import HEADS, LEDGER
from keyledger.eventlog.port import EventLog, NewRecord, Reader, Record
from keyledger.eventstore.port import Head, Ledger
from keyledger.testing.memory_log import MemoryLog
from keyledger_relay.ends import START, ForeignTopic, find_end
from keyledger_relay.feeds import FEEDS, PRIVATE, PUBLISHED, Feed
from keyledger_relay.mark import NAME
from tests.unit.relay.interposed import PassingLedger, PassingLog
from tests.unit.relay.kit import (
    DEADLINE_SECONDS,
    append_keys,
    assert_each_once,
    caught_up,
    ledger_topics,
    made,
    positions,
    records_of,
    relay_of,
    running,
    stopped,
    until_it_answers,
)


async def fill(log: EventLog, ledger: Ledger, feed: Feed, entries: Sequence[Entry]) -> None:
    producer = await log.producer()
    await producer.send(feed.topic, 0, feed.records(entries, ledger.store_id))


async def test_an_empty_or_shorter_topic_is_filled_again_from_the_ledger(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 40)
    await ledger.move_checkpoint(NAME, expected=0, new=40)  # once they both held everything
    await fill(log, ledger, PUBLISHED, await ledger.read(0, limit=15))
    relay = relay_of(ledger, log)
    async with running(relay):
        await caught_up(relay, 40)
    await assert_each_once(log, 40)


async def test_the_checkpoint_does_not_claim_what_a_topic_has_lost(ledger: Ledger) -> None:
    await append_keys(ledger, 40)
    await ledger.move_checkpoint(NAME, expected=0, new=40)
    gate = asyncio.Event()

    class ClosedGate(PassingLedger):
        async def read(self, after: int, *, limit: int) -> list[Entry]:
            await gate.wait()
            return await super().read(after, limit=limit)

    async with running(relay_of(ClosedGate(ledger), await made(MemoryLog()))):
        await until_it_answers(lambda: ledger.checkpoint(NAME), 0)
        gate.set()
        await until_it_answers(lambda: ledger.checkpoint(NAME), 40)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_another_ledgers_topic_is_not_followed(
    ledger: Ledger, other_ledger: Ledger, log: EventLog, feed: Feed
) -> None:
    await append_keys(ledger, 3)
    await append_keys(other_ledger, 2)
    await fill(log, other_ledger, feed, await other_ledger.read(0, limit=9))
    before = await ledger_topics(log)
    error = await stopped(relay_of(ledger, log))
    assert isinstance(error, ForeignTopic)
    assert other_ledger.store_id in str(error)
    assert ledger.store_id in str(error)
    assert await ledger_topics(log) == before


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_a_topic_that_is_ahead_of_the_ledger_is_not_followed(ledger: Ledger, log: EventLog, feed: Feed) -> None:
    await append_keys(ledger, 5)

    class Restored(PassingLedger):
        """The ledger as it was three events ago."""

        async def read(self, after: int, *, limit: int) -> list[Entry]:
            return (await super().read(after, limit=limit))[: max(0, 2 - after)]

        async def head(self) -> Head:
            (last,) = await super().read(1, limit=1)
            return Head(2, last.hash, last.header.recorded_at)

    await fill(log, ledger, feed, await ledger.read(0, limit=5))
    error = await stopped(relay_of(Restored(ledger), log))
    assert isinstance(error, ForeignTopic)
    assert f"{feed.topic} ends at position 5, the ledger at 2" in str(error)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_a_ledger_that_was_restored_and_went_on_is_not_followed(
    ledger: Ledger, other_ledger: Ledger, log: EventLog, feed: Feed
) -> None:
    class SameName(PassingLedger):
        """A backup keeps its store's name."""

    await append_keys(ledger, 5, prefix="a")
    await append_keys(other_ledger, 6, prefix="b")
    restored = SameName(other_ledger)
    restored.store_id = ledger.store_id
    await fill(log, ledger, feed, await ledger.read(0, limit=5))
    error = await stopped(relay_of(restored, log))
    assert isinstance(error, ForeignTopic)
    assert "ends with another position 5 than the ledger's" in str(error)
    assert positions(await records_of(log, feed.topic)) == [1, 2, 3, 4, 5]


async def test_a_topic_that_ends_with_no_ledger_record_is_not_followed(ledger: Ledger, log: EventLog) -> None:
    producer = await log.producer()
    await producer.send(LEDGER.name, 0, [NewRecord(None, b"hello")])
    error = await stopped(relay_of(ledger, log))
    assert isinstance(error, ForeignTopic)
    assert "no ledger record" in str(error)


async def test_a_ledger_that_goes_back_under_a_running_relay_is_not_followed(
    ledger: Ledger, other_ledger: Ledger, log: EventLog
) -> None:
    class Swapped(PassingLedger):
        """From some moment on, the database behind the same address is a restored one."""

    swapped = Swapped(ledger)
    await append_keys(ledger, 5, prefix="a")
    relay = relay_of(swapped, log)
    task = asyncio.create_task(relay.run())
    await caught_up(relay, 5)
    await append_keys(other_ledger, 6, prefix="b")
    swapped.behind = other_ledger
    await asyncio.wait([task], timeout=DEADLINE_SECONDS)
    assert isinstance(task.exception(), ForeignTopic)
    assert "position 6 does not follow" in str(task.exception())
    assert positions(await records_of(log, LEDGER.name)) == [1, 2, 3, 4, 5]


async def test_a_ledger_that_got_shorter_under_a_running_relay_is_noticed_by_the_next_head(
    ledger: Ledger, other_ledger: Ledger, log: EventLog
) -> None:
    swapped = PassingLedger(ledger)
    await append_keys(ledger, 5, prefix="a")
    relay = relay_of(swapped, log)
    task = asyncio.create_task(relay.run())
    await caught_up(relay, 5)
    swapped.behind = other_ledger
    await asyncio.wait([task], timeout=DEADLINE_SECONDS)
    assert isinstance(task.exception(), ForeignTopic)
    assert "ends at position 0, but 5 were relayed" in str(task.exception())


async def test_no_head_of_a_ledger_is_published_to_topics_that_are_not_its_own(
    ledger: Ledger, other_ledger: Ledger, log: EventLog
) -> None:
    await append_keys(other_ledger, 2)
    await fill(log, other_ledger, PRIVATE, await other_ledger.read(0, limit=9))
    await stopped(relay_of(ledger, log))
    assert await records_of(log, HEADS.name) == []


class MarkersAtTheEnd(PassingLog):
    """The last offsets of each topic hold no record, as a transaction's markers do."""

    markers = 70

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        first, end = await super().bounds(topic, partition)
        return first, end + self.markers

    async def reader(self, topic: str, partition: int, offset: int) -> Reader:
        _, end = await self.behind.bounds(topic, partition)
        inner = await super().reader(topic, partition, min(offset, end))
        return QuickReader(inner)


class QuickReader:
    """Doesn't wait: nothing more will come."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def poll(self, *, max_records: int, timeout_seconds: float) -> list[Record]:
        return await self._reader.poll(max_records=max_records, timeout_seconds=min(timeout_seconds, 0.05))

    async def close(self) -> None:
        await self._reader.close()


async def test_offsets_that_hold_no_record_do_not_hide_where_a_topic_ends(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 9)
    entries = await ledger.read(0, limit=9)
    marked = MarkersAtTheEnd(log)
    assert (await find_end(marked, ledger, PRIVATE)).place == START
    await fill(log, ledger, PRIVATE, entries)
    end = (await find_end(marked, ledger, PRIVATE)).place
    assert (end.position, end.hash) == (9, entries[-1].hash)
