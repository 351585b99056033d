"""A broker whose calls may fail before or after having taken effect, hang, or take effect late; topics may be lost."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from keyledger.contracts.topics import LEDGER, Topic
from keyledger.eventlog.limits import check_records
from keyledger.eventlog.port import LogUnavailable, NewRecord, OffsetOutOfRange, Record, TopicMismatch
from tests.simulation.clock import true_time
from tests.simulation.faults import LATE_SECONDS, World, give
from tests.simulation.loop import Process

T = TypeVar("T")
Place = tuple[str, int]


class Broker:
    """What stays when processes die: the records of each partition."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.topics: dict[str, Topic] = {}
        self.records: dict[Place, list[Record]] = {}
        self.first: dict[Place, int] = {}
        """The offset of the first record that a partition holds."""
        self.quiet = world.chance(0.5)
        """Whether nobody who sends is told that a topic was made anew."""
        self.made: dict[str, int] = {}
        """How often a topic was made: who knew it before it was lost must find out."""
        self._waiting: dict[Place, list[asyncio.Future[None]]] = {}

    def ensure(self, topics: Sequence[Topic]) -> None:
        for topic in topics:
            found = self.topics.get(topic.name)
            if found is None:
                self._make(topic)
            elif (found.partitions, found.retention_ms) != (topic.partitions, topic.retention_ms):
                raise TopicMismatch(f"{topic.name} has other settings: {found}")

    def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        check_records(records)
        held, now_ms = self.held(place), true_time(self.world) // 1_000
        for new in records:
            held.append(Record(*place, self.end(place), now_ms, new.key, new.value, new.headers))
        for waiter in self._waiting.pop(place, ()):
            self.world.loop.outside_at(self.world.now() + self.world.latency(), give, waiter)
        return self.end(place) - 1

    def end(self, place: Place) -> int:
        """Return the offset that the next record will get."""
        return len(self.held(place)) + self.first[place]

    def bounds(self, place: Place) -> tuple[int, int]:
        """Return (the first offset held, the offset that the next record will get)."""
        return self.end(place) - len(self.held(place)), self.end(place)

    def trim(self, place: Place, before: int) -> None:
        """Delete what stands before an offset."""
        kept = max(self.first[place], min(before, self.end(place)))
        del self.held(place)[: kept - self.first[place]]
        self.first[place] = kept

    def held(self, place: Place) -> list[Record]:
        """Return all records of a partition. Raises LogUnavailable."""
        try:
            return self.records[place]
        except KeyError:
            raise LogUnavailable(f"there is no {place[0]}/{place[1]}") from None

    def grown(self, place: Place) -> "asyncio.Future[None]":
        """Return what is done once the partition may hold more."""
        waiter: asyncio.Future[None] = self.world.loop.create_future()
        self._waiting.setdefault(place, []).append(waiter)
        return waiter

    def lose(self, name: str) -> None:
        """Lose everything the topic holds: it is there again, empty, with other offsets for what comes."""
        if name in self.topics:
            self.world.note("outside", "topic lost", name)
            self.world.happened["topic lost"] += 1
            self._make(self.topics[name])

    def _make(self, topic: Topic) -> None:
        self.topics[topic.name] = topic
        self.made[topic.name] = self.made.get(topic.name, 0) + 1
        for number in range(topic.partitions):
            self.records[topic.name, number] = []
            self.first[topic.name, number] = 0


class SimulatedLog:
    """One process's connection to the broker."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self.broker, self.process = broker, process

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        await self.ask("ensure_topics", lambda: self.broker.ensure(topics))

    async def producer(self) -> "SimulatedProducer":
        await self.ask("producer", lambda: None)
        return SimulatedProducer(self)

    async def reader(self, topic: str, partition: int, offset: int) -> "SimulatedReader":
        return SimulatedReader(self, (topic, partition), offset)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await self.ask("bounds", lambda: self.broker.bounds((topic, partition)), topic)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        def trim() -> None:
            self.broker.trim((topic, partition), before)

        await self.broker.world.call(
            self.process,
            "log.trim",
            trim,
            LogUnavailable,
            uncertain=LogUnavailable,
            doubt=trim if self.broker.world.chance(0.5) else lambda: None,
            detail=f"{topic}/{partition} {before}",
        )

    async def close(self) -> None: ...

    async def ask(self, what: str, answer: Callable[[], T], detail: object = "") -> T:
        """Call the broker for something that changes no record."""
        return await self.broker.world.call(self.process, f"log.{what}", answer, LogUnavailable, detail=detail)


class SimulatedProducer:
    """Appends in the order of its calls: one that failed and is still on its way arrives before the next one does."""

    def __init__(self, log: SimulatedLog) -> None:
        self._broker, self._process = log.broker, log.process
        self._knows = dict(self._broker.made)
        self._on_their_way: dict[Place, Callable[[], int]] = {}
        self._turns: dict[Place, asyncio.Lock] = {}

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        place, made = (topic, partition), self._knows.setdefault(topic, self._broker.made.get(topic, 0))

        def append() -> int:
            self._settle(place)
            if self._broker.made.get(topic) != made and not self._broker.quiet:
                self._knows.pop(topic, None)
                raise LogUnavailable(f"{topic} is another one than before")
            return self._broker.append(place, records)

        def arrive_later() -> None:
            self._settle(place)
            self._on_their_way[place] = append
            world = self._broker.world
            world.loop.outside_at(world.now() + world.between(0.0, LATE_SECONDS), self._settle, place, append)

        async with self._turns.setdefault(place, asyncio.Lock()):
            return await self._broker.world.call(
                self._process,
                "log.send",
                append,
                LogUnavailable,
                uncertain=LogUnavailable,
                doubt=arrive_later,
                detail=f"{topic}/{partition} {[_named(record) for record in records]}",
            )

    async def close(self) -> None: ...

    def _settle(self, place: Place, one: Callable[[], int] | None = None) -> None:
        """Have what is on its way arrive; ``one``: only if it is that one."""
        waiting = self._on_their_way.get(place)
        if waiting is not None and one in (None, waiting):
            del self._on_their_way[place]
            with suppress(LogUnavailable):
                waiting()


class SimulatedReader:
    """Reads one partition from an offset on, sometimes less than there is."""

    def __init__(self, log: SimulatedLog, place: Place, offset: int) -> None:
        self._log, self._place, self._offset = log, place, offset

    async def poll(self, *, max_records: int, timeout_seconds: float) -> list[Record]:
        found = await self._fetch(max_records)
        if not found:
            await self._until_grown(timeout_seconds)
            found = await self._fetch(max_records)
        if found:
            self._offset = found[-1].offset + 1
        return found

    async def close(self) -> None: ...

    async def _fetch(self, most: int) -> list[Record]:
        broker, world = self._log.broker, self._log.broker.world

        def fetch() -> list[Record]:
            first, end = broker.bounds(self._place)
            if not first <= self._offset <= end:
                raise OffsetOutOfRange(f"{self._place} holds {first} to {end - 1}, asked for {self._offset}")
            start = self._offset
            unreliable = world.unreliable_delivery and not self._log.process.name.startswith("relay")
            if unreliable and self._place[0] == LEDGER.name and start < end and world.chance(0.1):
                start = world.random.randrange(max(first, start - 3), min(start + 3, end))
                world.happened["delivered again" if start < self._offset else "not delivered"] += 1
            there = min(most, end - start)
            count = world.random.randint(1, there) if there > 1 and world.chance(0.5) else there
            return broker.held(self._place)[start - first : start - first + count]

        return await self._log.ask("poll", fetch, f"{self._place[0]}/{self._place[1]} {self._offset}")

    async def _until_grown(self, timeout_seconds: float) -> None:
        waiter = self._log.broker.grown(self._place)
        timer = self._log.broker.world.loop.call_later(timeout_seconds, give, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


def _named(record: NewRecord) -> str:
    return (dict(record.headers).get("ce_id") or record.key or b"").decode(errors="replace")
