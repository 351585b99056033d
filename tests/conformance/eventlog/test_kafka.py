import asyncio
import gc
import warnings
from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.kafka.producer import KafkaProducer
from keyledger.eventlog.kafka.reader import KafkaReader
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord
from keyledger.testing.eventlog_suite import Connect, EventLogSuite, Forget, numbered, read, values

pytestmark = pytest.mark.kafka


@pytest.fixture
async def admin(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    yield admin
    await admin.close()


class TestKafkaLog(EventLogSuite):
    @pytest.fixture
    def connect(self, kafka_bootstrap: str) -> Connect:
        async def connect() -> EventLog:
            return KafkaLog(kafka_bootstrap)

        return connect

    @pytest.fixture
    def forget(self, admin: AIOKafkaAdminClient) -> Forget:
        async def forget(log: EventLog, topic: str, partition: int) -> None:
            _, end = await log.bounds(topic, partition)
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=end)})

        return forget

    async def test_a_batch_the_broker_refuses_for_good_does_not_stop_those_after_it(
        self, log: EventLog, topic: str, admin: AIOKafkaAdminClient
    ) -> None:
        strict = f"{topic}.strict"
        await admin.create_topics([NewTopic(strict, 2, 1, topic_configs={"max.message.bytes": "2000"})])
        producer = await log.producer()
        await producer.send(strict, 0, numbered([0]))
        await producer.send(strict, 1, numbered([0]))
        for _ in range(2):
            with pytest.raises(LogUnavailable, match="MessageSizeTooLarge"):
                await producer.send(strict, 0, [NewRecord(None, bytes(3_000))])
            # With the refused batch's sequence numbers missing, the same client would be refused for ever.
            await producer.send(strict, 0, numbered([1]))
            await producer.send(strict, 1, numbered([1]))
        reader = await log.reader(strict, 0, 0)
        assert values(await read(reader, 3)) == ["0", "1", "1"]
        await producer.close()
        await reader.close()

    async def test_a_reader_whose_fetching_ended_connects_again_at_its_place(self, log: EventLog, topic: str) -> None:
        producer = await log.producer()
        await producer.send(topic, 0, numbered([0]))
        reader = await log.reader(topic, 0, 0)
        assert isinstance(reader, KafkaReader)
        assert values(await read(reader, 1)) == ["0"]
        # As by an error that aiokafka did not expect: nobody is told, and nothing is fetched any more.
        reader._consumer._fetcher._fetch_task.cancel()  # noqa: SLF001 - nothing public ends it
        with pytest.raises(LogUnavailable, match="its consumer has ended"):
            await read(reader, 1)
        await producer.send(topic, 0, numbered([1]))
        assert values(await read(reader, 1)) == ["1"]
        await reader.close()
        await producer.close()

    async def test_a_producer_whose_sending_ended_goes_on_with_a_new_client(self, log: EventLog, topic: str) -> None:
        producer = await log.producer()
        assert isinstance(producer, KafkaProducer)
        await producer.send(topic, 0, numbered([0]))
        sending = producer._client._sender.sender_task  # noqa: SLF001 - nothing public ends it
        sending.cancel()
        await asyncio.wait([sending])
        await producer.send(topic, 0, numbered([1]))
        reader = await log.reader(topic, 0, 0)
        assert values(await read(reader, 2)) == ["0", "1"]
        await reader.close()
        await producer.close()

    async def test_a_partition_that_does_not_exist_is_unavailable(self, kafka_bootstrap: str, topic: str) -> None:
        log = KafkaLog(kafka_bootstrap, timeout_seconds=1.0)
        producer = await log.producer()
        for name, partition in ((topic, 7), ("never-made", 0)):
            reader = await log.reader(name, partition, 0)
            with pytest.raises(LogUnavailable):
                await producer.send(name, partition, numbered([0]))
            with pytest.raises(LogUnavailable):
                await reader.poll(max_records=1, timeout_seconds=0.1)
            with pytest.raises(LogUnavailable):
                await log.bounds(name, partition)
            await reader.close()
        await producer.close()
        await log.close()


async def test_whoever_gives_up_connecting_leaves_no_connection(kafka_bootstrap: str) -> None:
    with warnings.catch_warnings(record=True) as forgotten:
        warnings.simplefilter("always")
        for moment in range(150):
            log = KafkaLog(kafka_bootstrap)
            asking = asyncio.create_task(log.bounds("nothing", 0))
            await asyncio.wait([asking], timeout=moment / 10_000)
            asking.cancel()
            await asyncio.wait([asking])
            await log.close()
        gc.collect()
    assert [str(warning.message) for warning in forgotten] == []
