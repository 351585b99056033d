"""A topic that lost records is whole again: emptied, and filled from the ledger, whether or not the relay ran."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from keyledger.contracts.topics import EVENTS, LEDGER
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, Producer
from keyledger.eventstore.port import Ledger
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_log import MemoryLog
from keyledger_relay.ends import ForeignTopic
from keyledger_relay.feeds import FEEDS, PRIVATE, PUBLISHED, Feed
from keyledger_relay.refilling import empty_topics
from tests.unit.relay.interposed import PassingLedger, PassingLog
from tests.unit.relay.kit import (
    DEADLINE_SECONDS,
    append_keys,
    assert_each_once,
    caught_up,
    followed,
    ledger_topics,
    positions,
    records_of,
    relay_of,
    running,
    until_it_answers,
)
from tests.unit.relay.test_refusing import fill

TOPICS = pytest.mark.parametrize("topic", [LEDGER.name, EVENTS.name])


class Hurried(SystemClock):
    """Its seconds are a hundredth of ours: what is looked at every few seconds is looked at at once."""

    def monotonic(self) -> float:
        return time.monotonic() * 100


@pytest.fixture
def log_file(log: EventLog) -> MemoryLog:
    assert isinstance(log, MemoryLog)
    return log


async def whole(log: EventLog, count: int) -> None:
    """Return once both topics hold each position once and in order; fail at the deadline with what they hold."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                with contextlib.suppress(AssertionError):
                    return await assert_each_once(log, count)
                await asyncio.sleep(0.01)
    except TimeoutError:
        await assert_each_once(log, count)


@contextlib.asynccontextmanager
async def a_running_relay(ledger: Ledger, log: EventLog) -> AsyncIterator[None]:
    """Run a relay that has taken twenty events to the topics."""
    await append_keys(ledger, 20, prefix="a")
    relay = relay_of(ledger, log, clock=Hurried())
    async with running(relay):
        await caught_up(relay, 20)
        yield


@TOPICS
async def test_a_topic_whose_beginning_was_deleted_is_filled_again_at_the_next_start(
    ledger: Ledger, log: EventLog, topic: str
) -> None:
    async with a_running_relay(ledger, log):
        pass
    await log.trim(topic, 0, 8)
    async with running(relay_of(ledger, log)):
        await whole(log, 20)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_a_hole_in_the_middle_is_filled_again_at_the_next_start(
    ledger: Ledger, log: EventLog, feed: Feed
) -> None:
    await append_keys(ledger, 20)
    rows = await ledger.read(0, limit=20)
    for one in FEEDS:
        await fill(log, ledger, one, rows if one is not feed else rows[:9] + rows[11:])
    async with running(relay_of(ledger, log)):
        await whole(log, 20)


@TOPICS
async def test_a_topic_whose_beginning_is_deleted_while_the_relay_runs_is_filled_again(
    ledger: Ledger, log: EventLog, topic: str
) -> None:
    async with a_running_relay(ledger, log):
        await log.trim(topic, 0, 8)
        await whole(log, 20)


def made_anew(log: MemoryLog, topic: str) -> None:
    log.held(topic, 0).clear()


def without_its_end(log: MemoryLog, topic: str) -> None:
    del log.held(topic, 0)[-5:]


@TOPICS
@pytest.mark.parametrize("loss", [made_anew, without_its_end])
@pytest.mark.parametrize("more_is_written", [False, True])
async def test_what_is_lost_while_the_relay_runs_is_filled_again(
    ledger: Ledger, log_file: MemoryLog, topic: str, loss: Callable[[MemoryLog, str], None], *, more_is_written: bool
) -> None:
    async with a_running_relay(ledger, log_file):
        loss(log_file, topic)
        if more_is_written:
            await append_keys(ledger, 3, prefix="b")
        await whole(log_file, 23 if more_is_written else 20)


@TOPICS
async def test_a_hole_that_resends_hide_is_filled_again_by_the_relay_that_made_it(
    ledger: Ledger, log_file: MemoryLog, topic: str
) -> None:
    await append_keys(ledger, 20, prefix="a")
    rows = await ledger.read(0, limit=20)
    for feed in FEEDS:
        await fill(log_file, ledger, feed, [*rows[:15], *rows])  # enough offsets for any hole
    relay = relay_of(ledger, log_file, clock=Hurried())
    async with running(relay):
        await caught_up(relay, 20)
        del log_file.held(topic, 0)[30:]
        await append_keys(ledger, 3, prefix="b")
        await caught_up(relay, 23)

        async def held() -> list[int]:
            return positions(await records_of(log_file, topic))

        await until_it_answers(held, list(range(1, 24)))


class AnothersBatchArrives(PassingLog):
    """What another relay, or an attempt that was given up, had sent arrives behind ``after`` batches to a topic.

    ``unanswered``: the next batch is written, and nobody is told.
    """

    def __init__(
        self, log: MemoryLog, topic: str, batch: list[NewRecord], *, after: int, unanswered: bool = False
    ) -> None:
        super().__init__(log)
        self._topic, self._batch, self._after, self._unanswered = topic, batch, after, unanswered
        self._sends = 0

    async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
        its_turn = topic == self._topic and self._sends == self._after
        self._sends += topic == self._topic
        if its_turn:
            await producer.send(topic, 0, self._batch)
        offset = await super().send(producer, topic, records)
        if its_turn and self._unanswered:
            raise LogUnavailable("the answer was lost")
        return offset


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_an_old_batch_that_arrives_while_a_topic_is_filled_again_leaves_no_hole(
    ledger: Ledger, log_file: MemoryLog, feed: Feed
) -> None:
    await append_keys(ledger, 20)
    old = feed.records((await ledger.read(0, limit=20))[14:16], ledger.store_id)
    relay = relay_of(ledger, AnothersBatchArrives(log_file, feed.topic, old, after=1), batch_events=5)
    async with running(relay):
        await whole(log_file, 20)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_an_old_batch_that_a_lost_answer_hides_leaves_no_hole(
    ledger: Ledger, log_file: MemoryLog, feed: Feed
) -> None:
    await append_keys(ledger, 20)
    old = feed.records((await ledger.read(0, limit=20))[14:16], ledger.store_id)
    log = AnothersBatchArrives(log_file, feed.topic, old, after=1, unanswered=True)
    relay = relay_of(ledger, log, batch_events=5)
    async with running(relay):
        await caught_up(relay, 20)
        await whole(log_file, 20)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_a_relay_never_empties_a_topic_because_another_one_is_ahead(
    ledger: Ledger, log_file: MemoryLog, feed: Feed
) -> None:
    await append_keys(ledger, 20)
    rows = await ledger.read(0, limit=20)
    await fill(log_file, ledger, feed, [*rows[:11], *rows[:7]])
    log = AnothersBatchArrives(log_file, feed.topic, feed.records(rows[11:14], ledger.store_id), after=0)
    relay = relay_of(ledger, log, clock=Hurried(), batch_events=5)
    async with running(relay):
        await caught_up(relay, 20)
    for records in (await ledger_topics(log_file)).values():
        assert records[0].offset == 0
        assert followed(records) == list(range(1, 21))


async def test_resends_are_no_damage(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 20)
    rows = await ledger.read(0, limit=20)
    await fill(log, ledger, PRIVATE, [*rows, *rows[3:9]])
    await fill(log, ledger, PUBLISHED, [*rows[:12], *rows])
    relay = relay_of(ledger, log)
    async with running(relay):
        await caught_up(relay, 20)
    for records in (await ledger_topics(log)).values():
        assert records[0].offset == 0
        assert followed(records) == list(range(1, 21))


async def test_a_topic_of_another_ledger_is_never_emptied(ledger: Ledger, other_ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 3)
    await append_keys(other_ledger, 9)
    await fill(log, other_ledger, PRIVATE, (await other_ledger.read(0, limit=9))[4:])
    with pytest.raises(Exception, match="ends with a record of"):
        await relay_of(ledger, log).run()
    assert positions(await records_of(log, LEDGER.name)) == [5, 6, 7, 8, 9]


async def test_topics_that_an_operator_empties_are_filled_again_also_of_forgeries(
    ledger: Ledger, log: EventLog
) -> None:
    async with a_running_relay(ledger, log):
        producer = await log.producer()
        for topic in (LEDGER.name, EVENTS.name):
            await producer.send(topic, 0, [NewRecord(None, b"a forgery")])
        await empty_topics(log, ledger)
        await whole(log, 20)


async def test_an_operator_cannot_empty_another_ledgers_topics(
    ledger: Ledger, other_ledger: Ledger, log: EventLog
) -> None:
    await append_keys(other_ledger, 9)
    await fill(log, other_ledger, PUBLISHED, await other_ledger.read(0, limit=9))
    with pytest.raises(ForeignTopic, match="ends with a record of"):
        await empty_topics(log, ledger)
    assert positions(await records_of(log, EVENTS.name)) == list(range(1, 10))


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
async def test_an_operator_cannot_empty_topics_of_facts_that_a_restored_ledger_has_lost(
    ledger: Ledger, other_ledger: Ledger, log: EventLog, feed: Feed
) -> None:
    await append_keys(ledger, 9, prefix="a")
    await fill(log, ledger, feed, await ledger.read(0, limit=9))
    restored = PassingLedger(other_ledger)
    restored.store_id = ledger.store_id  # a backup keeps its store's name
    for events in (5, 9):  # the topic is the only place where what comes after is still written
        await append_keys(other_ledger, events - (await other_ledger.head()).position, prefix=f"b{events}")
        with pytest.raises(ForeignTopic, match="restored from a backup"):
            await empty_topics(log, restored)
        assert positions(await records_of(log, feed.topic)) == list(range(1, 10))
