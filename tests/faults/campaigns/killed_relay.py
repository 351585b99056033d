"""The relay killed at its named places, and stopped for so long that another one took over."""

from contextlib import AsyncExitStack
from typing import Final

from keyledger.contracts.failpoints import Name
from keyledger.eventlog.port import EventLog, NewRecord
from keyledger.eventstore.port import Ledger
from keyledger_relay.feeds import FEEDS
from keyledger_relay.mark import NAME
from tests.faults.brokers import broker_behind_a_proxy
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, live, live_for, live_until_it_stands
from tests.faults.judging import judge_ledger
from tests.faults.oracle.topics import topic_violations
from tests.faults.processes import Served, World, world_in
from tests.faults.waiting import until

PLACES: Final[tuple[Name, ...]] = ("relay.before_send", "relay.after_send", "relay.after_checkpoint")
WRITERS: Final = 2
LATEST_PASSING: Final = {"relay.before_send": 60, "relay.after_send": 60, "relay.after_checkpoint": 4}
"""Moves of the checkpoint are a quarter of a second apart."""
AHEAD: Final = 20
PAUSE_SECONDS: Final = 0.02
"""Between two writes of one writer, where a send takes as long."""


async def _killed_on_a_file(stage: Stage) -> Outcome:
    return await _killed_again_and_again(stage, None)


async def _killed_on_kafka(stage: Stage) -> Outcome:
    async with broker_behind_a_proxy(stage.folder / "kafka") as (brokers, proxy):
        proxy.slow(latency_seconds=0.01)  # so that a batch may still be under way when its sender is gone
        return await _killed_again_and_again(stage, brokers.bootstrap)


async def _killed_again_and_again(stage: Stage, kafka_bootstrap: str | None) -> Outcome:
    async with AsyncExitStack() as stack:
        world, clients = await _writing_world(stage, stack, kafka_bootstrap)
        relay = world.service("relay")
        for _ in range(stage.rounds):
            place = stage.random.choice(PLACES)
            armed = f"{place}:kill@{stage.random.randint(1, LATEST_PASSING[place])}"
            stage.say(armed)
            await relay.start(armed)
            await live(clients, stage.random, lambda: not relay.runs, writers=WRITERS)
        await relay.start()
        return await _judged(world, clients, relay, faults=stage.rounds)


async def _replaced(stage: Stage) -> Outcome:
    """A relay stands still before or after a send, another one does its work, and then it goes on."""
    async with AsyncExitStack() as stack:
        world, clients = await _writing_world(stage, stack)
        zombie, other = world.service("relay"), world.service("relay")
        async with world.ledger() as ledger:
            for _ in range(stage.rounds):
                place = f"{stage.random.choice(PLACES[:2])}:stop@{stage.random.randint(1, 40)}"
                stage.say(place)
                await zombie.start(place)
                await live_until_it_stands(clients, stage.random, zombie, writers=WRITERS)
                await other.start()
                await live_for(clients, stage.random, AHEAD, writers=WRITERS)
                await _reached(ledger, other)
                zombie.thaw()
                # Both write now; the one that finds the checkpoint moved by the other stops.
                await live(clients, stage.random, lambda: not (zombie.runs and other.runs), writers=WRITERS)
                await zombie.kill()
                await other.kill()
        await other.start()
        return await _judged(world, clients, other, faults=stage.rounds)


async def _writing_world(
    stage: Stage, stack: AsyncExitStack, kafka_bootstrap: str | None = None
) -> tuple[World, ClientLedger]:
    world = await stack.enter_async_context(world_in(stage.folder, kafka_bootstrap=kafka_bootstrap))
    commands = await world.started("commands")
    pause_seconds = 0.0 if kafka_bootstrap is None else PAUSE_SECONDS
    clients = await stack.enter_async_context(
        ClientLedger(commands.origin, by=world.root_key, pause_seconds=pause_seconds)
    )
    return world, clients


async def _reached(ledger: Ledger, relay: Served) -> None:
    head = (await ledger.head()).position

    async def holds() -> bool:
        return await ledger.checkpoint(NAME) >= head

    await until(holds, "the relay has taken everything to the topics", relay)


async def _judged(world: World, clients: ClientLedger, relay: Served, *, faults: int) -> Outcome:
    outcome = await judge_ledger(world, clients, faults=faults)
    async with world.ledger() as ledger, world.log() as log:
        await _reached(ledger, relay)
        outcome.violations += await topic_violations(ledger, log)
    return outcome


async def _checkpoint_first(stage: Stage) -> Outcome:
    """The naive relay: it goes on from its checkpoint, and is killed between moving it and sending."""
    async with AsyncExitStack() as stack:
        world, clients = await _writing_world(stage, stack)
        await live_for(clients, stage.random, 30, writers=WRITERS)
        async with world.ledger() as ledger, world.log() as log:
            for killed in (False, True, False):
                await _naive_step(ledger, log, limit=10, killed=killed)
            while await _naive_step(ledger, log, limit=10, killed=False):
                pass
            return Outcome(faults=1, violations=await topic_violations(ledger, log))


async def _naive_step(ledger: Ledger, log: EventLog, *, limit: int, killed: bool) -> bool:
    at = await ledger.checkpoint(NAME)
    rows = await ledger.read(at, limit=limit)
    if not rows:
        return False
    await ledger.move_checkpoint(NAME, expected=at, new=rows[-1].header.position)
    if not killed:
        producer = await log.producer()
        for feed in FEEDS:
            records: list[NewRecord] = feed.records(rows, ledger.store_id)
            await producer.send(feed.topic, 0, records)
        await producer.close()
    return True


CAMPAIGNS: Final = (
    Campaign(
        name="relay-killed",
        breaks="the relay is killed before and after a send and after its checkpoint",
        run=_killed_on_a_file,
        naive=_checkpoint_first,
        runs=6,
        rounds=8,
        budget_minutes=3,
        short_rounds=2,
    ),
    Campaign(
        name="relay-killed-kafka",
        breaks="the same, 20 ms away from its broker",
        run=_killed_on_kafka,
        runs=3,
        rounds=8,
        budget_minutes=2.5,
        long=True,
        needs=frozenset({"kafka"}),
    ),
    Campaign(
        name="relay-replaced",
        breaks="a relay stands still, is replaced, and goes on",
        run=_replaced,
        runs=5,
        rounds=5,
        budget_minutes=2.5,
    ),
)
