"""Attempts on their way to the log: recorded without waiting, sent in batches, numbered without gaps.

A record's number is given once, when it is packed, and kept over every retry: a reader that sees a number again knows
a resend, and one that misses a number knows a loss. What does not fit into the buffer is dropped before it is numbered,
counted and logged, since an answer must wait for no log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from keyledger.contracts.auth_event import (
    MAX_RECORD_BYTES,
    RECORD_TYPE,
    AuthAttempt,
    neighbourhood,
    partition_of,
    record_id,
)
from keyledger.contracts.cloudevents import attributes
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import AUTH, AUTH_BY_SOURCE, Topic
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, Producer

log = logging.getLogger(__name__)

BATCH_SECONDS: Final = 0.005
BUSY_BATCH_SECONDS: Final = 0.025
BUSY_ATTEMPTS: Final = 8
"""From so many waiting on, a batch is left to grow: at 10,000 attempts a second, a batch to each partition every 5 ms
would cost the node as much as the checks do."""

RETRY_SECONDS: Final = 0.2
FLUSH_SECONDS: Final = 5.0
"""How long a stop waits for acknowledgements; what has none by then is lost, counted and logged."""

MAX_BUFFERED: Final = 100_000
"""Attempts that may wait for the log, some 30 MB: four seconds at 25,000 a second."""

_RECORDS_IN_FLIGHT: Final = 16

_encode: Final = msgspec.json.Encoder().encode


class AuthEventSink:
    """Sends attempts to both topics, under the same id: by key (or fingerprint), and by source address.

    ``dropped`` counts attempts that found the buffer full; ``acknowledged`` what the log holds, each topic's apart.
    """

    def __init__(
        self,
        event_log: EventLog,
        *,
        node: str,
        boot: str,
        clock: Clock,
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        self._log, self._node, self._boot, self._clock = event_log, node, boot, clock
        self._max_held = 2 * max_buffered
        self._held = 0
        self._by_key = self._lanes(AUTH)
        self._by_source = self._lanes(AUTH_BY_SOURCE)
        self._issued = 0
        self._drops_told = 0
        self._closing = asyncio.Event()
        self.dropped = 0
        self.acknowledged = 0

    @property
    def waiting(self) -> int:
        """How many attempts are not acknowledged yet, each topic's counted apart."""
        return self._held

    def next_id(self) -> str:
        """Return the id of the next attempt: unique for ever by the boot's random name, and cheap."""
        self._issued += 1
        return f"{self._boot}.{self._issued}"

    def record(self, attempt: AuthAttempt) -> None:
        """Take an attempt. Returns at once, also when the log is away."""
        encoded = _encode(attempt)
        if self._held + 2 > self._max_held or len(encoded) + 2 > MAX_RECORD_BYTES:
            self.dropped += 1
            return
        self._held += 2
        subject = attempt.key_id or attempt.fingerprint or attempt.source
        self._by_key[partition_of(subject, AUTH.partitions)].add(encoded)
        self._by_source[partition_of(neighbourhood(attempt.source), AUTH_BY_SOURCE.partitions)].add(encoded)

    async def run(self) -> None:
        """Send until cancelled; what is left then has ``FLUSH_SECONDS`` to be acknowledged."""
        self._closing.clear()
        sending = asyncio.create_task(self._send_all(), name="auth-events")
        try:
            await asyncio.shield(sending)
        finally:
            self._close()
            try:
                await asyncio.wait([sending], timeout=FLUSH_SECONDS)
            finally:
                if sending.cancel():
                    log.error("%d attempts were not acknowledged by the log before the stop", self._held)
                    await asyncio.wait([sending], timeout=RETRY_SECONDS)

    async def _send_all(self) -> None:
        producer = await self._producer()
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in (*self._by_key, *self._by_source):
                    tasks.create_task(self._drain(lane, producer), name=f"auth-events-{lane.topic}-{lane.partition}")
        finally:
            await producer.close()

    def _close(self) -> None:
        self._closing.set()
        for lane in (*self._by_key, *self._by_source):
            lane.filled.set()

    async def _drain(self, lane: "Lane", producer: Producer) -> None:
        while await lane.wait(self._closing):
            if not self._closing.is_set():
                await self._clock.sleep(BATCH_SECONDS)
                if self._held > BUSY_ATTEMPTS:
                    await self._clock.sleep(BUSY_BATCH_SECONDS - BATCH_SECONDS)
            self._tell_drops()
            for batch in lane.pack(self._node, self._boot, self._clock.now()):
                attempts = sum(count for _, count in batch)
                try:
                    await self._send(lane, producer, [record for record, _ in batch])
                except Exception:
                    self.dropped += attempts  # whoever starts this again must not find the buffer full of nothing
                    raise
                finally:
                    self._held -= attempts
                self.acknowledged += attempts

    async def _send(self, lane: "Lane", producer: Producer, records: list[NewRecord]) -> None:
        failures = 0
        while True:
            try:
                await producer.send(lane.topic, lane.partition, records)
            except LogUnavailable as error:
                if not failures:
                    log.warning("attempts wait for the log (%s/%d): %s", lane.topic, lane.partition, error)
                failures += 1
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return

    async def _producer(self) -> Producer:
        while True:
            try:
                return await self._log.producer()
            except LogUnavailable as error:
                log.warning("attempts wait for the log: %s", error)
                await self._clock.sleep(RETRY_SECONDS)

    def _tell_drops(self) -> None:
        if self.dropped > self._drops_told:
            log.error("%d attempts were dropped: the log does not take them fast enough", self.dropped)
            self._drops_told = self.dropped

    def _lanes(self, topic: Topic) -> tuple["Lane", ...]:
        return tuple(Lane(topic.name, partition) for partition in range(topic.partitions))


class Lane:
    """One partition: what waits for it, and how many records it was given."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.filled = asyncio.Event()
        self._waiting: deque[bytes] = deque()
        self._number = 0

    def add(self, encoded: bytes) -> None:
        """Take one encoded attempt."""
        if not self._waiting:
            self.filled.set()
        self._waiting.append(encoded)

    async def wait(self, closing: asyncio.Event) -> bool:
        """Return True once something waits; False when nothing does and nothing will."""
        while not self._waiting:
            if closing.is_set():
                return False
            self.filled.clear()
            await self.filled.wait()
        return True

    def pack(self, node: str, boot: str, now: int) -> Iterator[list[tuple[NewRecord, int]]]:
        """Yield what waits now as numbered records (each with its count of attempts), few at a time."""
        left = len(self._waiting)
        while left:
            batch: list[tuple[NewRecord, int]] = []
            while left and len(batch) < _RECORDS_IN_FLIGHT:
                attempts = self._take(left)
                left -= len(attempts)
                self._number += 1
                headers = attributes(
                    type=RECORD_TYPE,
                    id=record_id(node, boot, self.partition, self._number),
                    source=f"/keyledger/verifiers/{node}",
                    time=now,
                )
                batch.append((NewRecord(None, b"[" + b",".join(attempts) + b"]", headers), len(attempts)))
            yield batch

    def _take(self, most: int) -> list[bytes]:
        """Take attempts off the front, as many as one record holds; at least one."""
        taken = [self._waiting.popleft()]
        size = 2 + len(taken[0])  # the brackets
        while len(taken) < most and size + 1 + len(self._waiting[0]) <= MAX_RECORD_BYTES:
            size += 1 + len(self._waiting[0])  # the comma
            taken.append(self._waiting.popleft())
        return taken
