"""A ledger and a log that pass everything on: tests override the one method whose failure they are about."""

from collections.abc import Collection, Mapping, Sequence

from keyledger.contracts.envelope import Entry
from keyledger.contracts.topics import Topic
from keyledger.eventlog.port import EventLog, NewRecord, Producer, Reader
from keyledger.eventstore.port import Append, Appended, Head, IdempotencyClaim, Ledger, Profile, Replayed


class PassingLedger:
    def __init__(self, ledger: Ledger) -> None:
        self.behind = ledger
        self.store_id = ledger.store_id

    async def append(self, append: Append) -> Appended | Replayed:
        return await self.behind.append(append)

    async def find_replay(self, claim: IdempotencyClaim) -> Replayed | None:
        return await self.behind.find_replay(claim)

    async def load(self, streams: Collection[str], *, known: Mapping[str, int] = {}) -> dict[str, list[Entry]]:
        return await self.behind.load(streams, known=known)

    async def streams(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        return await self.behind.streams(prefix, after=after, limit=limit)

    async def read(self, after: int, *, limit: int) -> list[Entry]:
        return await self.behind.read(after, limit=limit)

    async def head(self) -> Head:
        return await self.behind.head()

    async def wait_beyond(self, position: int, *, timeout_seconds: float) -> None:
        await self.behind.wait_beyond(position, timeout_seconds=timeout_seconds)

    async def profiles(self, user_ids: Collection[str]) -> dict[str, Profile]:
        return await self.behind.profiles(user_ids)

    async def addresses(self, positions: Collection[int]) -> dict[int, str]:
        return await self.behind.addresses(positions)

    async def erase(self, user_id: str) -> None:
        await self.behind.erase(user_id)

    async def checkpoint(self, name: str) -> int:
        return await self.behind.checkpoint(name)

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        await self.behind.move_checkpoint(name, expected=expected, new=new)

    async def close(self) -> None:
        await self.behind.close()


class PassingLog:
    """What a producer of it sends goes through ``send``."""

    def __init__(self, log: EventLog) -> None:
        self.behind = log

    async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
        return await producer.send(topic, 0, records)

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        await self.behind.ensure_topics(topics)

    async def producer(self) -> Producer:
        return PassingProducer(self, await self.behind.producer())

    async def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return await self.behind.reader(topic, partition, offset)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await self.behind.bounds(topic, partition)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        await self.behind.trim(topic, partition, before)

    async def close(self) -> None:
        await self.behind.close()


class PassingProducer:
    def __init__(self, log: PassingLog, producer: Producer) -> None:
        self._log = log
        self._producer = producer

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        assert partition == 0
        return await self._log.send(self._producer, topic, records)

    async def close(self) -> None:
        await self._producer.close()
