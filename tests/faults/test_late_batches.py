"""A batch that the network delivers late: after its sender gave up waiting, and after what was sent next."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from keyledger.contracts.topics import DAY_MS, Topic
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.port import LogUnavailable, Producer
from keyledger.testing.eventlog_suite import numbered, read, values
from tests.faults.brokers import broker_behind_a_proxy
from tests.faults.proxy import Proxy
from tests.faults.waiting import until

pytestmark = pytest.mark.kafka

TIMEOUT_SECONDS = 2.0
DEADLINE_SECONDS = 120.0


@contextlib.asynccontextmanager
async def late_network(folder: Path) -> AsyncIterator[tuple[KafkaLog, Proxy, str]]:
    async with broker_behind_a_proxy(folder) as (brokers, proxy):
        log = KafkaLog(brokers.bootstrap, timeout_seconds=DEADLINE_SECONDS)
        topic = f"late.{uuid.uuid4().hex}"
        await log.ensure_topics([Topic(topic, 1, DAY_MS, "this test's own")])
        yield log, proxy, topic
        await log.close()


async def until_sent(producer: Producer, topic: str, number: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            with contextlib.suppress(LogUnavailable):
                await producer.send(topic, 0, numbered([number]))
                return


async def everything(log: KafkaLog, topic: str) -> list[str]:
    """Return what the topic holds."""
    _, end = await log.bounds(topic, 0)
    reader = await log.reader(topic, 0, 0)
    found = values(await read(reader, end))
    await reader.close()
    return found


async def test_a_late_batch_is_neither_written_behind_the_next_one_nor_twice(server_folder: Path) -> None:
    async with late_network(server_folder / "kafka") as (log, proxy, topic):
        impatient = KafkaLog(f"127.0.0.1:{proxy.port}", timeout_seconds=TIMEOUT_SECONDS)
        producer = await impatient.producer()
        await until_sent(producer, topic, 0)
        with proxy.requests.delaying() as arrival, pytest.raises(LogUnavailable):
            await producer.send(topic, 0, numbered([1]))
        await until_sent(producer, topic, 2)
        arrival.set()
        for number in (3, 4):  # what was late is there before the second of them
            await until_sent(producer, topic, number)
        found = await everything(log, topic)
        # The others may stand there twice where the machine is slow: they were sent until they were answered.
        assert list(dict.fromkeys(found)) == ["0", "1", "2", "3", "4"]
        assert found == sorted(found)
        assert found.count("1") == 1
        await producer.close()
        await impatient.close()


async def test_a_new_client_for_each_attempt_is_overtaken_by_itself(server_folder: Path) -> None:
    """The naive way is noticed: what was given up arrives behind what was sent after it."""
    async with late_network(server_folder / "kafka") as (log, proxy, topic):
        bootstrap = f"127.0.0.1:{proxy.port}"
        options = {"bootstrap_servers": bootstrap, "acks": "all", "enable_idempotence": True}
        first, second = AIOKafkaProducer(**options), AIOKafkaProducer(**options)
        await first.start()
        await second.start()
        await first.send_and_wait(topic, b"0", partition=0)
        await second.partitions_for(topic)
        with proxy.requests.delaying() as arrival:
            sent = await first.send(topic, b"1", partition=0)
            await until(lambda: proxy.requests.delayed_bytes > 0, "it is under way, and given up")
        await second.send_and_wait(topic, b"2", partition=0)
        arrival.set()
        await sent
        assert await everything(log, topic) == ["0", "2", "1"]
        await first.stop()
        await second.stop()
