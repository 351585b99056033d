"""A log whose topics have names of their own: the test run's one broker carries the relay's topics for every test."""

from collections.abc import Sequence

import msgspec

from keyledger.contracts.topics import Topic
from keyledger.eventlog.port import EventLog, NewRecord, Producer, Reader, Record


class LogApart:
    def __init__(self, log: EventLog, prefix: str) -> None:
        self._log = log
        self._prefix = prefix

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        await self._log.ensure_topics([msgspec.structs.replace(one, name=self._prefix + one.name) for one in topics])

    async def producer(self) -> Producer:
        return _ProducerApart(await self._log.producer(), self._prefix)

    async def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _ReaderApart(await self._log.reader(self._prefix + topic, partition, offset), topic)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await self._log.bounds(self._prefix + topic, partition)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        await self._log.trim(self._prefix + topic, partition, before)

    async def close(self) -> None:
        await self._log.close()


class _ProducerApart:
    def __init__(self, producer: Producer, prefix: str) -> None:
        self._producer = producer
        self._prefix = prefix

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        return await self._producer.send(self._prefix + topic, partition, records)

    async def close(self) -> None:
        await self._producer.close()


class _ReaderApart:
    def __init__(self, reader: Reader, topic: str) -> None:
        self._reader = reader
        self._topic = topic

    async def poll(self, *, max_records: int, timeout_seconds: float) -> list[Record]:
        found = await self._reader.poll(max_records=max_records, timeout_seconds=timeout_seconds)
        return [msgspec.structs.replace(record, topic=self._topic) for record in found]

    async def close(self) -> None:
        await self._reader.close()
