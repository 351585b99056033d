"""The cluster as an event log."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from keyledger.contracts.topics import Topic
from keyledger.eventlog.kafka import topics as kafka_topics
from keyledger.eventlog.kafka.clients import Cluster
from keyledger.eventlog.kafka.producer import KafkaProducer
from keyledger.eventlog.kafka.reader import KafkaReader
from keyledger.eventlog.kafka_security import PLAINTEXT, KafkaSecurity


class KafkaLog:
    """A Kafka cluster. Connects at first use; while it is away calls raise LogUnavailable, and afterwards go on."""

    def __init__(self, bootstrap: str, *, security: KafkaSecurity = PLAINTEXT, timeout_seconds: float = 10.0) -> None:
        """Make a handle, without connecting.

        Args:
            bootstrap: ``host:port`` of some of the brokers, separated by commas.
            security: encryption and credentials.
            timeout_seconds: within which every call answers or raises LogUnavailable.

        Raises:
            OSError: ``security.ssl_cafile`` cannot be read.
        """
        self._cluster = Cluster(bootstrap, security, timeout_seconds)
        self._asking: Any = None
        self._connecting = asyncio.Lock()

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        async with self._admin("making topics") as admin:
            await kafka_topics.create_missing(admin, topics)
            await kafka_topics.check(admin, topics)

    async def producer(self) -> KafkaProducer:
        return KafkaProducer(self._cluster)

    async def reader(self, topic: str, partition: int, offset: int) -> KafkaReader:
        return KafkaReader(self._cluster, topic, partition, offset)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        place = TopicPartition(topic, partition)
        async with self._cluster.asked(f"asking for the bounds of {topic}/{partition}"):
            async with self._connecting:
                if self._asking is None:
                    asking = AIOKafkaConsumer(**self._cluster.options, enable_auto_commit=False)
                    await self._cluster.start(asking)
                    self._asking = asking
            first = await self._asking.beginning_offsets([place])
            end = await self._asking.end_offsets([place])
            return first[place], end[place]

    async def trim(self, topic: str, partition: int, before: int) -> None:
        async with self._admin(f"deleting what {topic}/{partition} holds before {before}") as admin:
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=before)})

    @asynccontextmanager
    async def _admin(self, what: str) -> AsyncIterator[AIOKafkaAdminClient]:
        async with self._cluster.asked(what):
            admin = AIOKafkaAdminClient(**self._cluster.options)
            await self._cluster.start(admin)
            try:
                yield admin
            finally:
                await self._cluster.end(admin)

    async def close(self) -> None:
        if self._asking is not None:
            asking, self._asking = self._asking, None
            await self._cluster.end(asking)
