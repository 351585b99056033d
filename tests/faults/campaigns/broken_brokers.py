"""Kafka killed, stopped, slow, reset and cut off, with one broker and with three, while the ledger is written to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from keyledger.contracts.topics import DAY_MS, Topic
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.port import LogUnavailable, NewRecord
from tests.faults.brokers import OwnBrokers, broker_behind_a_proxy, three_brokers
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import live_through
from tests.faults.deployments import Deployment, deployed
from tests.faults.proxy import Proxy

WRITERS: Final = 2
ANSWER_BYTES: Final = b"\x00\x00\x00"
"""In the length before each of the broker's answers."""

PROBED: Final = Topic("faults.probed", 1, DAY_MS, "like those that the ledger is relayed to")

Fault = Callable[[OwnBrokers, Proxy, Deployment], Awaitable[None]]


async def killed(brokers: OwnBrokers, _proxy: Proxy, deployment: Deployment) -> None:
    await brokers.kill(1)
    await deployment.answered(5)
    await brokers.start([1])


async def stopped(brokers: OwnBrokers, _proxy: Proxy, deployment: Deployment) -> None:
    brokers.freeze(1)
    try:
        await deployment.answered(20)
    finally:
        brokers.thaw(1)


async def slow(_brokers: OwnBrokers, proxy: Proxy, deployment: Deployment) -> None:
    proxy.slow(latency_seconds=0.05, bytes_per_second=200_000)
    await deployment.answered(20)


async def reset(_brokers: OwnBrokers, proxy: Proxy, deployment: Deployment) -> None:
    for _ in range(5):
        proxy.reset()
        await deployment.answered(3)


async def black_holed(_brokers: OwnBrokers, proxy: Proxy, deployment: Deployment) -> None:
    proxy.black_hole()
    await deployment.answered(20)


async def answers_lost(_brokers: OwnBrokers, proxy: Proxy, deployment: Deployment) -> None:
    """What is sent is written, and nobody learns of it."""
    proxy.answers.hold()
    await deployment.answered(10)
    proxy.reset()


async def cut_in_answers(_brokers: OwnBrokers, proxy: Proxy, deployment: Deployment) -> None:
    proxy.answers.cut_at(ANSWER_BYTES, times=10)
    await deployment.answered(10)


FAULTS: Final[tuple[Fault, ...]] = (killed, answers_lost, stopped, slow, reset, black_holed, cut_in_answers)


async def _one_broker(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        brokers, proxy = await stack.enter_async_context(broker_behind_a_proxy(stage.folder / "kafka"))
        deployment = await stack.enter_async_context(deployed(stage.folder, kafka_bootstrap=brokers.bootstrap))

        async def breaking() -> None:
            for turn in range(stage.rounds):
                fault = FAULTS[turn] if turn < len(FAULTS) else stage.random.choice(FAULTS)
                stage.say(fault.__name__)
                await fault(brokers, proxy, deployment)
                proxy.heal()
                if stage.random.random() < 0.5:  # else the next one strikes while this one is still felt
                    await deployment.caught_up()

        await live_through(deployment.clients, stage.random, breaking(), writers=WRITERS)
        return await deployment.judged(faults=stage.rounds)


async def _three_brokers(stage: Stage) -> Outcome:
    """One of three is missed by nobody. With two lost the log acknowledges nothing, and the ledger goes on."""
    async with AsyncExitStack() as stack:
        brokers = await stack.enter_async_context(three_brokers(stage.folder / "kafka"))
        deployment = await stack.enter_async_context(deployed(stage.folder, kafka_bootstrap=brokers.bootstrap))
        probe = await stack.enter_async_context(_probe(brokers))
        violations: list[str] = []

        async def breaking() -> None:
            for _ in range(stage.rounds):
                leader = await probe.leader()
                first, second = stage.random.sample([number for number in brokers.numbers if number != leader], 2)
                stage.say(f"broker {first}, then {second}")
                await brokers.kill(first)
                await deployment.answered(10)
                await deployment.caught_up()
                await brokers.kill(second)
                await deployment.answered(10)
                if await probe.is_acknowledged():
                    violations.append(f"with brokers {first} and {second} lost, a record was acknowledged")
                if not await probe.is_acknowledged_by_the_leader_alone():
                    violations.append("the naive way acknowledged nothing either: this shows nothing")
                await brokers.start([first, second])
                await deployment.caught_up()

        await live_through(deployment.clients, stage.random, breaking(), writers=WRITERS)
        outcome = await deployment.judged(faults=2 * stage.rounds)
        outcome.violations += violations
        return outcome


class Probe:
    """Asks a cluster whether it calls a record written, of a topic like ours."""

    def __init__(self, brokers: OwnBrokers) -> None:
        self._brokers = brokers
        self.log = KafkaLog(brokers.bootstrap, timeout_seconds=5.0)

    async def leader(self) -> int:
        """Return the broker that leads the topic."""
        async with self._brokers.admin() as admin:
            (found,) = await admin.describe_topics([PROBED.name])
            number: int = found["partitions"][0]["leader"]
            return number

    async def is_acknowledged(self) -> bool:
        """Ask as Keyledger writes."""
        producer = await self.log.producer()
        try:
            await producer.send(PROBED.name, 0, [NewRecord(None, b"ours")])
        except LogUnavailable:
            return False
        else:
            return True
        finally:
            await producer.close()

    async def is_acknowledged_by_the_leader_alone(self) -> bool:
        """Ask as one writes who does not wait for the other brokers."""
        producer = AIOKafkaProducer(bootstrap_servers=self._brokers.bootstrap, acks=1)
        await producer.start()
        try:
            async with asyncio.timeout(120.0):
                await producer.send_and_wait(PROBED.name, b"the naive way's", partition=0)
        except (KafkaError, TimeoutError):
            return False
        else:
            return True
        finally:
            await producer.stop()


@asynccontextmanager
async def _probe(brokers: OwnBrokers) -> AsyncIterator[Probe]:
    probe = Probe(brokers)
    await probe.log.ensure_topics([PROBED])
    yield probe
    await probe.log.close()


CAMPAIGNS: Final = (
    Campaign(
        name="kafka-broken",
        breaks="Kafka is killed, stopped, slow, reset, silent, or its answers are lost",
        run=_one_broker,
        runs=4,
        rounds=10,
        budget_minutes=6,
        short_rounds=2,
        needs=frozenset({"kafka"}),
    ),
    Campaign(
        name="kafka-brokers-lost",
        breaks="one of three brokers is lost, then two of three",
        run=_three_brokers,
        runs=2,
        rounds=3,
        budget_minutes=6,
        needs=frozenset({"kafka"}),
    ),
)
