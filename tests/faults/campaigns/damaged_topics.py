"""The ledger's topics truncated, made anew, and written to by strangers, while nodes and the directory follow them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace

from keyledger.contracts.envelope import Entry, seal
from keyledger.contracts.topics import LEDGER
from keyledger.eventlog.last_record import last_record
from keyledger.eventlog.port import EventLog, NewRecord, OffsetOutOfRange
from keyledger.eventstore.port import Ledger
from keyledger_relay.ends import position_of
from keyledger_relay.feeds import FEEDS, Feed
from keyledger_relay.refilling import empty_topics
from tests.faults.brokers import broker_behind_a_proxy
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import live_through
from tests.faults.deployments import Deployment, deployed
from tests.faults.waiting import until
from tests.unit.relay.kit import records_of

WRITERS: Final = 2
WAITED_FOR: Final = 30
"""How many writes come between two faults."""
MOST_TRIES: Final = 12
TRY_SECONDS: Final = 15.0


class Damage:
    """What is done to one topic, with everything that may be asked for it."""

    def __init__(self, stage: Stage, deployment: Deployment, admin: AIOKafkaAdminClient, feed: Feed) -> None:
        self.stage, self.deployment, self.admin, self.feed = stage, deployment, admin, feed

    async def beginning_deleted(self) -> None:
        """Some of what the topic began with is gone (DeleteRecords)."""
        async with self.deployment.world.log() as log:
            first, end = await log.bounds(self.feed.topic, 0)
            await log.trim(self.feed.topic, 0, self.stage.random.randint(first + 1, end))

    async def made_anew(self) -> None:
        """The topic was deleted; the relay, or whoever is first, makes it again."""
        await self.admin.delete_topics([self.feed.topic])

    async def emptied_by_an_operator(self) -> None:
        """Somebody called ``keyledger topics refill``."""
        async with self.deployment.world.log() as log, self.deployment.world.ledger() as ledger:
            await empty_topics(log, ledger)

    async def resent(self) -> None:
        """A stranger sends again what stood there, some of it backwards."""
        async with self.deployment.world.log() as log:
            records = [
                NewRecord(record.key, record.value or b"", record.headers)
                for record in await records_of(log, self.feed.topic)
            ]
            start = self.stage.random.randrange(len(records))
            again = records[start : start + 50]
            if self.stage.random.random() < 0.5:
                again.reverse()
            await self._write(log, again)

    async def poisoned(self) -> None:
        """A stranger writes what is no ledger record: readers stop before it, until an operator empties the topic."""
        async with self.deployment.world.log() as log:
            write = partial(self._write, log, [NewRecord(b"a stranger", b"{}", (("ce_id", b"1"),))])
            await (self._until_a_reader_stops(write) if self.feed.topic == LEDGER.name else write())
        await self.emptied_by_an_operator()

    async def forged(self) -> None:
        """A stranger writes what looks like the ledger's next fact: its hash, or its place in the chain, is wrong."""
        async with self.deployment.world.log() as log, self.deployment.world.ledger() as ledger:
            position = (await ledger.head()).position + 1
            write = partial(self._write_forgery, log, ledger)
            await (self._until_a_reader_stops(write) if self.feed.topic == LEDGER.name else write())

            async def has_gone_on() -> bool:
                try:
                    end = await last_record(log, self.feed.topic)
                except OffsetOutOfRange:  # the relay has just emptied the topic, to fill it again
                    return False
                return end is not None and position_of(end) > position

            await until(has_gone_on, "the relay has written behind the forgery")
        await self.emptied_by_an_operator()

    async def _write_forgery(self, log: EventLog, ledger: Ledger) -> None:
        head = await ledger.head()
        (last,) = await ledger.read(head.position - 1, limit=1)
        header = replace(last.header, position=head.position + 1, version=last.header.version + 1)
        nowhere = self.stage.random.randbytes(32)
        in_no_chain = seal(header, last.data, nowhere)
        forgery = in_no_chain if self.stage.random.random() < 0.5 else Entry(header, last.data, last.hash, nowhere)
        await self._write(log, self.feed.records([forgery], ledger.store_id))

    async def _write(self, log: EventLog, records: Sequence[NewRecord]) -> None:
        producer = await log.producer()
        await producer.send(self.feed.topic, 0, records)
        await producer.close()

    async def _until_a_reader_stops(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write until it is met: the true fact may come before a forgery, and the relay may empty the topic."""
        before = self.deployment.restarts
        for _ in range(MOST_TRIES):
            await write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRY_SECONDS):
                    return await until(lambda: self.deployment.restarts > before, "a reader has stopped")
        raise AssertionError(f"no reader stopped at what a stranger wrote {MOST_TRIES} times")

    @property
    def all(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Every one of them."""
        return (
            self.beginning_deleted,
            self.made_anew,
            self.forged,
            self.poisoned,
            self.resent,
            self.emptied_by_an_operator,
        )


async def _damaged(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        brokers, _ = await stack.enter_async_context(broker_behind_a_proxy(stage.folder / "kafka"))
        deployment = await stack.enter_async_context(deployed(stage.folder, kafka_bootstrap=brokers.bootstrap))
        admin = await stack.enter_async_context(brokers.admin())

        async def breaking() -> None:
            for turn in range(stage.rounds):
                await deployment.answered(WAITED_FOR)
                damage = Damage(stage, deployment, admin, stage.random.choice(FEEDS)).all
                fault = damage[turn] if turn < len(damage) else stage.random.choice(damage)
                stage.say(fault.__name__)
                await fault()
                await deployment.answered(WAITED_FOR)
                await deployment.caught_up()

        await live_through(deployment.clients, stage.random, breaking(), writers=WRITERS)
        return await deployment.judged(faults=stage.rounds)


CAMPAIGNS: Final = (
    Campaign(
        name="topics-damaged",
        breaks="a ledger topic loses its beginning, is deleted, poisoned, forged, resent into, or emptied",
        run=_damaged,
        runs=4,
        rounds=8,
        budget_minutes=7,
        short_rounds=3,
        needs=frozenset({"kafka"}),
    ),
)
