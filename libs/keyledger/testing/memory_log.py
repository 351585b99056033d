"""A log in memory, for tests of what stands above the log. It passes the same suite as the real ones."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from keyledger.contracts.topics import Topic
from keyledger.eventlog.limits import check_records
from keyledger.eventlog.port import LogUnavailable, NewRecord, OffsetOutOfRange, Record, TopicMismatch


class MemoryLog:
    """Topics and records of one process and event loop. Set ``unavailable`` to have it behave like a lost broker."""

    def __init__(self) -> None:
        self.unavailable = False
        self._topics: dict[str, Topic] = {}
        self._records: dict[tuple[str, int], list[Record]] = {}
        self._first: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._grown: Final = asyncio.Condition()

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        self._must_be_there()
        for topic in topics:
            found = self._topics.setdefault(topic.name, topic)
            if (found.partitions, found.retention_ms) != (topic.partitions, topic.retention_ms):
                raise TopicMismatch(f"{topic.name} has other settings: {found}")
            for number in range(topic.partitions):
                self._records.setdefault((topic.name, number), [])

    async def producer(self) -> "MemoryProducer":
        return MemoryProducer(self)

    async def reader(self, topic: str, partition: int, offset: int) -> "MemoryReader":
        return MemoryReader(self, topic, partition, offset)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        held = self.held(topic, partition)
        first = self._first[topic, partition]
        return first, first + len(held)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        first, end = await self.bounds(topic, partition)
        kept = max(first, min(before, end))
        del self.held(topic, partition)[: kept - first]
        self._first[topic, partition] = kept

    async def close(self) -> None: ...

    def forget(self, topic: str, partition: int) -> None:
        """Delete everything the partition holds, as retention does in time."""
        self._first[topic, partition] += len(self.held(topic, partition))
        self.held(topic, partition).clear()

    def held(self, topic: str, partition: int) -> list[Record]:
        """Return all records of a partition. Raises LogUnavailable."""
        self._must_be_there()
        try:
            return self._records[topic, partition]
        except KeyError:
            raise LogUnavailable(f"{topic} has no partition {partition}") from None

    async def append(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        """Append the records as one; return the last one's offset."""
        check_records(records)
        held = self.held(topic, partition)
        now_ms = time.time_ns() // 1_000_000
        held += [
            Record(topic, partition, offset, now_ms, new.key, new.value, new.headers)
            for offset, new in enumerate(records, start=self._first[topic, partition] + len(held))
        ]
        last = held[-1].offset
        async with self._grown:
            self._grown.notify_all()
        return last

    async def read(self, topic: str, partition: int, offset: int, max_records: int) -> list[Record]:
        """Return what there is from the offset on, waiting until there is something."""
        async with self._grown:
            while True:
                first, end = await self.bounds(topic, partition)
                if not first <= offset <= end:
                    raise OffsetOutOfRange(f"{topic}/{partition} holds {first} to {end - 1}, asked for {offset}")
                if offset < end:
                    return self.held(topic, partition)[offset - first : offset - first + max_records]
                await self._grown.wait()

    def _must_be_there(self) -> None:
        if self.unavailable:
            raise LogUnavailable("set to be unavailable")


class MemoryProducer:
    """Appends in the order of its calls."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        return await self._log.append(topic, partition, records)

    async def close(self) -> None: ...


class MemoryReader:
    """Reads one partition from an offset on."""

    def __init__(self, log: MemoryLog, topic: str, partition: int, offset: int) -> None:
        self._log = log
        self._place = (topic, partition)
        self._offset = offset

    async def poll(self, *, max_records: int, timeout_seconds: float) -> list[Record]:
        try:
            async with asyncio.timeout(timeout_seconds):
                found = await self._log.read(*self._place, self._offset, max_records)
        except TimeoutError:
            return []
        self._offset = found[-1].offset + 1
        return found

    async def close(self) -> None: ...
