"""Reading one partition, by a place of our own: no group, no commits."""

import asyncio
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from keyledger.eventlog.kafka.clients import Cluster, reads_no_more
from keyledger.eventlog.port import LogUnavailable, OffsetOutOfRange, Record

FETCH_BYTES: Final = 4 * 1024 * 1024
"""The most that one answer holds, and so what a reader keeps in memory: some 4,000 rows of the ledger."""
SILENCE_SECONDS: Final = 3.0
"""How long a reader that gets nothing trusts its broker: a live one answers every fetch within half a second."""


class KafkaReader:
    """Connects at its first poll, and again at its place after whatever aiokafka cannot recover from itself."""

    def __init__(self, cluster: Cluster, topic: str, partition: int, offset: int) -> None:
        self._cluster = cluster
        self._place = TopicPartition(topic, partition)
        self._offset = offset
        self._consumer: Any = None
        self._answered_at: int | None = None
        self._heard_at = 0.0
        self._closed = False

    async def poll(self, *, max_records: int, timeout_seconds: float) -> list[Record]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        consumer = await self._connected()
        while True:
            left_seconds = max(0.0, deadline - loop.time())
            found = await self._fetched(consumer, max_records, min(left_seconds, SILENCE_SECONDS / 2))
            await self._listen(consumer, found)
            if found or loop.time() >= deadline:
                return found

    async def close(self) -> None:
        self._closed = True
        await self._disconnect()

    async def _connected(self) -> Any:
        if self._closed:
            raise LogUnavailable("the reader was closed")
        if self._consumer is None:
            topic, partition = self._place
            async with self._cluster.asked(f"connecting to read {topic}/{partition}"):
                consumer = AIOKafkaConsumer(
                    **self._cluster.options,
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    fetch_min_bytes=1,
                    max_partition_fetch_bytes=FETCH_BYTES,
                )
                consumer.assign([self._place])
                await self._cluster.start(consumer)
                # Before anything else runs: without a position it would ask for a group's committed one.
                consumer.seek(self._place, self._offset)
                self._consumer = consumer
            self._heard_at = asyncio.get_running_loop().time()
            if partition not in (consumer.partitions_for_topic(topic) or ()):
                await self._disconnect()
                raise LogUnavailable(f"{topic} has no partition {partition}: were its topics made?")
        return self._consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._cluster.end(consumer)

    async def _fetched(self, consumer: Any, max_records: int, timeout_seconds: float) -> list[Record]:
        topic, partition = self._place
        try:
            pages = await consumer.getmany(
                self._place, timeout_ms=round(timeout_seconds * 1_000), max_records=max_records
            )
        except OffsetOutOfRangeError as error:
            raise OffsetOutOfRange(f"{topic}/{partition} does not hold {self._offset}") from error
        except KafkaError as error:
            await self._disconnect()
            raise LogUnavailable(f"reading {topic}/{partition}: {error!r}") from error
        found = [
            Record(topic, partition, one.offset, one.timestamp, one.key, one.value, one.headers)
            for one in pages.get(self._place, ())
        ]
        if found:
            self._offset = found[-1].offset + 1
        return found

    async def _listen(self, consumer: Any, found: list[Record]) -> None:
        """Tell an idle partition from a broker that is gone: aiokafka only logs that it cannot fetch, and retries."""
        now = asyncio.get_running_loop().time()
        if not found and reads_no_more(consumer):
            await self._disconnect()
            raise LogUnavailable(f"{self._place.topic}/{self._place.partition}: its consumer has ended")
        answered_at = consumer.last_poll_timestamp(self._place)
        if found or answered_at != self._answered_at:
            self._answered_at, self._heard_at = answered_at, now
        elif now - self._heard_at > SILENCE_SECONDS:
            raise LogUnavailable(f"{self._place.topic}/{self._place.partition}: its broker is silent")
