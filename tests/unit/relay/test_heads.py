"""What the heads promise the verifier nodes, and what readiness and the metrics say."""

import asyncio
from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry

from keyledger.contracts.cloudevents import ledger_source
from keyledger.contracts.freshness import Head as PublishedHead
from keyledger.contracts.freshness import decode_head
from keyledger.contracts.topics import EVENTS, HEADS
from keyledger.eventlog.port import EventLog, NewRecord, Producer
from keyledger.eventstore.port import Head, Ledger
from keyledger.runtime.clock import SystemClock
from tests.unit.relay.interposed import PassingLedger, PassingLog
from tests.unit.relay.kit import append_keys, caught_up, records_of, relay_of, running, until, until_it_answers


async def heads_of(log: EventLog) -> list[PublishedHead]:
    return [decode_head(record.value or b"") for record in await records_of(log, HEADS.name)]


async def a_head(log: EventLog, count: int = 1) -> None:
    async def enough() -> bool:
        return len(await heads_of(log)) >= count

    await until_it_answers(enough, answer=True)


class SteppingClock(SystemClock):
    """Wall time that passes only when somebody looks at it, by one microsecond."""

    def __init__(self) -> None:
        self.time = 1_700_000_000_000_000

    def now(self) -> int:
        self.time += 1
        return self.time


async def test_a_head_never_claims_a_time_after_its_position_was_read(ledger: Ledger, log: EventLog) -> None:
    clock = SteppingClock()
    read_at: list[int] = []

    class TimedHeads(PassingLedger):
        async def head(self) -> Head:
            read_at.append(clock.now())
            return await super().head()

    async with running(relay_of(TimedHeads(ledger), log, clock=clock)):
        await a_head(log, 2)
    # The first look at the head is the start's own.
    for head, position_read_at in zip(await heads_of(log), read_at[1:], strict=False):
        assert head.at < position_read_at


async def test_a_head_is_published_at_once_and_says_what_the_ledger_held(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 3)

    class NeverPublishes(PassingLog):
        async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
            if topic == EVENTS.name:
                await asyncio.Event().wait()
            return await super().send(producer, topic, records)

    loop = asyncio.get_running_loop()
    began = loop.time()
    # What is relayed by then does not matter: nodes compare it with what they have applied.
    async with running(relay_of(ledger, NeverPublishes(log))):
        await a_head(log)
        assert loop.time() - began < 1
    (record, *_) = await records_of(log, HEADS.name)
    assert (await heads_of(log))[0].position == 3
    assert (await heads_of(log))[0].store == ledger.store_id
    headers = dict(record.headers)
    assert headers["ce_type"] == b"keyledger.LedgerHead"
    assert headers["ce_source"] == ledger_source(ledger.store_id).encode()
    assert record.key == ledger.store_id.encode()
    assert msgspec.json.decode(record.value or b"").keys() == {"store", "position", "at"}


async def test_a_slow_log_does_not_pile_heads_up_and_then_gets_the_newest(ledger: Ledger, log: EventLog) -> None:
    gate = asyncio.Event()
    waiting: list[int] = []
    looks: list[int] = []

    class SlowHeads(PassingLog):
        async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
            if topic == HEADS.name:
                waiting.append(len(records))
                await gate.wait()
            return await super().send(producer, topic, records)

    class CountedHeads(PassingLedger):
        async def head(self) -> Head:
            looks.append(1)
            return await super().head()

    clock = QuickBeats()
    relay = relay_of(CountedHeads(ledger), SlowHeads(log), clock=clock)
    async with running(relay):
        await until(lambda: len(waiting) == 1)
        looks_before = len(looks)
        await append_keys(ledger, 4)
        await caught_up(relay, 4)
        assert (waiting, len(looks)) == ([1], looks_before)
        gate.set()
        await a_head(log, 2)
    assert [head.position for head in await heads_of(log)][:2] == [0, 4]


class QuickBeats(SystemClock):
    """A second passes in ten milliseconds."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


async def test_it_is_ready_once_it_has_relayed_what_there_was_at_its_start(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 3)
    gate = asyncio.Event()

    class Gated(PassingLog):
        async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
            if topic != HEADS.name:
                await gate.wait()
            return await super().send(producer, topic, records)

    relay = relay_of(ledger, Gated(log))
    assert relay.unready() == "the ends of the topics are not known yet"
    async with running(relay):
        await until(lambda: relay.unready() == "relayed up to 0 of 3")
        gate.set()
        await until(lambda: relay.unready() is None)


async def test_the_metrics_say_how_far_and_how_long_it_is_behind(ledger: Ledger, log: EventLog) -> None:
    registry = CollectorRegistry()
    gate = asyncio.Event()

    class Gated(PassingLog):
        async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
            if topic != HEADS.name:
                await gate.wait()
            return await super().send(producer, topic, records)

    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(f"keyledger_relay_{name}", labels)
        assert found is not None, name
        return found

    await append_keys(ledger, 3)
    relay = relay_of(ledger, Gated(log), registry=registry)
    async with running(relay):
        await until(lambda: value("ledger_head") == 3 and value("lag_seconds") > 0)
        assert (value("position"), value("lag_positions")) == (0, 3)
        gate.set()
        await caught_up(relay, 3)
        assert (value("position"), value("lag_positions"), value("lag_seconds")) == (3, 0, 0)
        assert value("records_sent_total", topic=EVENTS.name) == 3
