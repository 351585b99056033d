"""A broker of these tests' own is killed under a producer and a reader."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infra.local import KafkaServer, ServerFailed, start_kafka
from infra.local.ports import free_port
from infra.local.processes import stat_fields
from keyledger.contracts.topics import DAY_MS, Topic
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.port import LogUnavailable, Producer, Reader
from keyledger.testing.eventlog_suite import numbered, read, values

pytestmark = pytest.mark.kafka

TIMEOUT_SECONDS = 2.0
LATE_SECONDS = 30.0
"""Less than the client's own limits (40 s), and more than a slow machine needs that keeps to ours."""
DEADLINE_SECONDS = 120.0


class Broker:
    """One broker that dies and comes back at the same address with the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server: KafkaServer = start_kafka(folder)

    @property
    def bootstrap(self) -> str:
        return self.server.bootstrap

    def kill(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.server.process.is_running():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """Return once it stands still: on a busy machine its threads answer for a while after the signal."""
        os.kill(self.server.pid, signal.SIGSTOP)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not all(stat_fields(int(thread.name))[0] == "T" for thread in self._threads()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _threads(self) -> Iterator[Path]:
        return Path(f"/proc/{self.server.pid}/task").iterdir()

    async def restart(self) -> None:
        port = int(self.bootstrap.rpartition(":")[2])
        self.server = await asyncio.to_thread(start_kafka, self._folder, port)


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    try:
        broker = Broker(tmp_path_factory.mktemp("kafka"))
    except ServerFailed as reason:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no broker of one's own: {reason}")
    yield broker
    broker.server.stop()


@pytest.fixture
async def broker(own_broker: Broker) -> Broker:
    if not own_broker.server.process.is_running():
        await own_broker.restart()
    return own_broker


@pytest.fixture
async def log(broker: Broker) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(broker.bootstrap, timeout_seconds=TIMEOUT_SECONDS)
    yield log
    await log.close()


@pytest.fixture
async def topic(broker: Broker) -> str:
    name = f"faults.{uuid.uuid4().hex}"
    patient = KafkaLog(broker.bootstrap, timeout_seconds=DEADLINE_SECONDS)
    await patient.ensure_topics([Topic(name, 2, DAY_MS, "this test's own")])
    await patient.close()
    return name


async def send_until_answered(producer: Producer, topic: str, number: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                await producer.send(topic, 0, numbered([number]))
            except LogUnavailable:
                continue
            return


async def read_all(reader: Reader, last: str) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while last not in found:
            try:
                found += values(await reader.poll(max_records=100, timeout_seconds=0.5))
            except LogUnavailable:
                continue
    return found


async def test_a_dead_broker_is_an_error_within_the_timeout_and_the_same_producer_goes_on_after_its_return(
    broker: Broker, log: KafkaLog, topic: str
) -> None:
    producer, reader = await log.producer(), await log.reader(topic, 0, 0)
    await send_until_answered(producer, topic, 0)
    assert set(await read_all(reader, "0")) == {"0"}
    broker.kill()
    for number in (1, 2):
        started = time.monotonic()
        with pytest.raises(LogUnavailable):
            await producer.send(topic, 0, numbered([number]))
        assert time.monotonic() - started < LATE_SECONDS
    await broker.restart()
    for number in (3, 4):
        await send_until_answered(producer, topic, number)
    found = [value for value in await read_all(reader, "4") if value != "0"]
    # "1" was not answered, and was sent until it could be. "2" was not even begun while the fate of "1" was open: a
    # long outage must not pile up a copy for each retry.
    assert list(dict.fromkeys(found)) == ["1", "3", "4"], "the later two were sent until they were answered"
    assert found.count("1") == 1
    await producer.close()
    await reader.close()


async def test_what_was_not_answered_is_never_written_after_what_was_sent_later(
    broker: Broker, log: KafkaLog, topic: str
) -> None:
    producer = await log.producer()
    await send_until_answered(producer, topic, 0)
    # Stopped, not dead: it takes the bytes and answers nobody.
    broker.stop()
    try:
        with pytest.raises(LogUnavailable):
            await producer.send(topic, 0, numbered([1]))
    finally:
        os.kill(broker.server.pid, signal.SIGCONT)
    await send_until_answered(producer, topic, 2)
    reader = await log.reader(topic, 0, 0)
    found = await read_all(reader, "2")
    # Exactly once: aiokafka's own retries carry the sequence number of the first try.
    assert list(dict.fromkeys(found)) == ["0", "1", "2"], "the others were sent until they were answered"
    assert found.count("1") == 1
    await producer.close()
    await reader.close()


async def test_a_reader_of_a_dead_broker_says_so_keeps_its_place_and_goes_on(
    broker: Broker, log: KafkaLog, topic: str
) -> None:
    producer, reader = await log.producer(), await log.reader(topic, 0, 0)
    for number in (0, 1):
        await send_until_answered(producer, topic, number)
    assert values(await reader.poll(max_records=1, timeout_seconds=DEADLINE_SECONDS)) == ["0"]
    broker.kill()
    with pytest.raises(LogUnavailable):  # noqa: PT012 - what it had fetched before it may still hand out
        async with asyncio.timeout(DEADLINE_SECONDS):
            buffered = values(await reader.poll(max_records=100, timeout_seconds=DEADLINE_SECONDS))
            assert set(buffered) <= {"0", "1"}
            await reader.poll(max_records=100, timeout_seconds=DEADLINE_SECONDS)
    await broker.restart()
    await send_until_answered(producer, topic, 2)
    assert (await read_all(reader, "2"))[-1] == "2"
    await producer.close()
    await reader.close()


async def test_everything_can_be_closed_while_the_broker_is_dead(broker: Broker, log: KafkaLog, topic: str) -> None:
    producer, reader = await log.producer(), await log.reader(topic, 0, 0)
    await send_until_answered(producer, topic, 0)
    _, end = await log.bounds(topic, 0)
    await read(reader, end)
    assert await reader.poll(max_records=1, timeout_seconds=0.02) == []  # so that a fetch is under way when it dies
    broker.kill()
    with pytest.raises(LogUnavailable):
        await producer.send(topic, 0, numbered([1]))
    async with asyncio.timeout(LATE_SECONDS):
        await producer.close()
        await reader.close()
        await log.close()
    with pytest.raises(LogUnavailable):
        await producer.send(topic, 0, numbered([2]))
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []


async def test_a_cluster_that_is_not_there_is_unavailable_to_every_call() -> None:
    log, topic = KafkaLog(f"127.0.0.1:{free_port()}", timeout_seconds=TIMEOUT_SECONDS), "any"
    producer, reader = await log.producer(), await log.reader(topic, 0, 0)
    for call in (
        lambda: log.ensure_topics([Topic(topic, 1, DAY_MS, "")]),
        lambda: log.bounds(topic, 0),
        lambda: producer.send(topic, 0, numbered([0])),
        lambda: reader.poll(max_records=1, timeout_seconds=0.1),
    ):
        started = time.monotonic()
        with pytest.raises(LogUnavailable):
            await call()
        assert time.monotonic() - started < LATE_SECONDS
    await producer.close()
    await reader.close()
    await log.close()
