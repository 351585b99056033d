"""Drives a fold: reads the ledger from the log, and keeps order, versions, transactions and the checkpoint.

Effectively once: the version guard, the rows and the compare-and-set checkpoint stand in one transaction of the read
model's own database. The guard is the correctness and the offset only speed: a wrong offset costs reading again.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final, Generic

from msgspec import Struct

from keyledger.contracts.cloudevents import MalformedRecord, read_private
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import LEDGER
from keyledger.eventlog.port import EventLog, LogUnavailable, OffsetOutOfRange, Reader, Record
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.committed import Committed
from keyledger.projections.folding import Step, step_of
from keyledger.projections.order import Chain, ForeignHistory, GapInLedger
from keyledger.projections.parking import Parking
from keyledger.projections.port import Checkpoint, Parked, Projection, ReadModel, ReadModelUnavailable, Row
from keyledger.projections.waiters import MAX_WAITERS, Waiters

PARTITION: Final = 0
MAX_BATCH: Final = 250
"""Rows of one transaction. So few stay in the processor's cache from the log to the commit: with 1,000 each row was
measured to cost half as much again, and the loop is held up for four times as long."""
POLL_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 1.0
"""How often it is looked whether another generation was built to take this one's place."""
_log = logging.getLogger(__name__)


class Counts(Struct):
    """What a runner did and met since it was made, for metrics."""

    applied: int = 0
    batches: int = 0
    log_retries: int = 0
    read_model_retries: int = 0
    rewinds: int = 0


class ProjectionRunner(Generic[Row]):
    """Follows the ledger's private topic for one read model, in batches of what is there (at most ``max_batch``)."""

    def __init__(
        self,
        projection: Projection[Row],
        read_model: ReadModel[Row],
        log: EventLog,
        *,
        clock: Clock,
        topic: str = LEDGER.name,
        max_batch: int = MAX_BATCH,
        max_waiters: int = MAX_WAITERS,
    ) -> None:
        self._projection, self._read_model, self._event_log = projection, read_model, log
        self._clock, self._topic, self._max_batch = clock, topic, max_batch
        self._waiters = Waiters(clock, max_waiters=max_waiters)
        self._committed = Committed(projection, read_model, self._waiters)
        self._parking = Parking(projection.name, self._committed, read_model, log, topic=topic, clock=clock)
        self._failures = 0
        self._starting = True
        self._look_at = 0.0
        self._tasks: asyncio.TaskGroup | None = None
        self._succession: asyncio.Task[None] | None = None
        self._last: int | None = None
        self.counts = Counts()

    @property
    def checkpoint(self) -> Checkpoint:
        """How far the read model is; ``Checkpoint()`` until ``run`` has read it, or while it is empty."""
        return self._committed.checkpoint

    @property
    def position(self) -> int:
        """The last position that was committed to the read model."""
        return self._committed.position

    @property
    def parked(self) -> Collection[Parked]:
        """The streams whose events wait."""
        return self._committed.parked.values()

    async def wait_for(self, position: int, *, timeout_seconds: float) -> bool:
        """Return True once ``position`` is committed; False after the timeout, or at once when too many wait."""
        return await self._waiters.wait_for(position, timeout_seconds=timeout_seconds)

    async def run(self) -> None:
        """Follow the ledger until cancelled. What was read before a stop is committed first.

        An event that cannot be decoded or folded, or is not the next of its stream, parks the stream: it is told as an
        alert, and tried again at each start of ``run`` and whenever somebody asks for it.

        Raises:
            GapInLedger: positions are missing from the topic, also from its first record on.
            ForeignHistory: the topic holds another ledger's history than the read model.
            MalformedRecord: a record that is no ledger row, or whose contents do not have the hash it states.
            CheckpointMoved: another runner writes this read model; this one is a zombie.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._follow_for_ever(), name=f"{self._projection.name}-follow")
                tasks.create_task(self._parking.run(), name=f"{self._projection.name}-parked")
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def reach(self, position: int) -> None:
        """Follow the ledger exactly up to ``position`` and no further; return when that is committed.

        Nothing is announced, and what is parked waits. Raises what ``run`` raises.
        """
        self._last = position
        try:
            await self._follow_for_ever()
        finally:
            self._last = None

    def _is_done(self) -> bool:
        return self._last is not None and self.position >= self._last

    async def _follow_for_ever(self) -> None:
        """Follow until cancelled, or until the last position that is wanted."""
        self._starting = True
        rewind = False
        while not self._is_done():
            applied = self.counts.applied
            try:
                rewind = await self._follow(rewind=rewind)
            except LogUnavailable as error:
                self.counts.log_retries += 1
                await self._pause(error)
            except ReadModelUnavailable as error:
                self.counts.read_model_retries += 1
                await self._pause(error)
            # Once something was applied the checkpoint's offset is a good one: nothing is to be read twice for it.
            rewind = rewind and self.counts.applied == applied

    async def _follow(self, *, rewind: bool) -> bool:
        """Follow from the checkpoint until the offset turns out to be useless; return True: start at the first one."""
        async with self._committed.turn:
            await self._committed.look()
        if self._starting:
            # Most often a fold is mended by installing a newer version, that is, by a start.
            self._parking.try_all_again()
            self._starting = False
        if self._is_done():
            return False
        chain = Chain(self.checkpoint)
        offset = self.checkpoint.next_offset
        if rewind:
            self.counts.rewinds += 1
            offset, _ = await self._event_log.bounds(self._topic, PARTITION)
        applied = self.counts.applied
        try:
            reader = await self._event_log.reader(self._topic, PARTITION, offset)
            try:
                await self._fold_all(reader, chain)
            finally:
                await reader.close()
        except OffsetOutOfRange:
            return True
        except GapInLedger:
            # A topic that was made anew has other offsets: what seems to be missing may stand before this one. Also
            # where this began with the first record, if that was another topic's: something was applied since.
            if (rewind or offset == 0) and self.counts.applied == applied:
                raise
            return True
        return False

    async def _fold_all(self, reader: Reader, chain: Chain) -> None:
        while not self._is_done():
            records = await self._poll(reader)
            steps, failure = self._understand(chain, records)
            if steps:
                await self._committed.apply(chain.store, steps)
                self.counts.applied += len(steps)
                self.counts.batches += 1
            if failure is not None and not self._is_done():
                raise failure
            self._failures = 0
            if self._tasks is not None and self._clock.monotonic() >= self._look_at:
                await self._look_for_successor(self._tasks)

    async def _look_for_successor(self, tasks: asyncio.TaskGroup) -> None:
        self._look_at = self._clock.monotonic() + LOOK_SECONDS
        if self._succession is not None and not self._succession.done():
            return
        successor = await self._read_model.successor()
        if successor is not None:
            self._succession = tasks.create_task(self._try(successor), name=f"{self._projection.name}-successor")

    async def _try(self, successor: ReadModel[Row]) -> None:
        try:
            await self._succeed(successor)
        except CheckpointMoved as error:  # an operator deleted it, or builds it anew: that ends nobody who serves
            _log.warning("projection %s goes on without what was built beside it: %s", self._projection.name, error)

    async def _succeed(self, successor: ReadModel[Row]) -> None:
        """Let another generation take this one's place, once it is as far: nobody sees an older state than before."""
        building = ProjectionRunner(self._projection, successor, self._event_log, clock=self._clock, topic=self._topic)
        await building.reach(self.position)
        while self.position - building.position > self._max_batch:
            await building.reach(self.position)
        async with self._committed.turn:
            # What came meanwhile is little, and nothing more can come before the switch.
            await building.reach(self.position)
            if not self._committed.known or building.position != self.position:
                return  # what became of the last commit is looked up first; where it is further on, this one comes too
            self._committed.known = False
            try:
                await self._read_model.switch(successor)
                await self._committed.look()
            except ReadModelUnavailable as error:
                _log.warning("projection %s could not be switched: %s", self._projection.name, error)
            else:
                _log.info("projection %s serves the generation that was built beside it", self._projection.name)

    async def _poll(self, reader: Reader) -> list[Record]:
        while True:
            try:
                records = await reader.poll(max_records=self._max_batch, timeout_seconds=POLL_SECONDS)
            except LogUnavailable as error:
                self.counts.log_retries += 1
                await self._pause(error)
            else:
                return records

    def _understand(self, chain: Chain, records: Sequence[Record]) -> tuple[list[Step], Exception | None]:
        """Return the rows that come next, and what ended them early, to be raised once they are committed."""
        steps: list[Step] = []
        for record in records:
            if chain.position == self._last:
                break
            try:
                source, entry = read_private(record.headers, record.value)
                if chain.admit(source, entry):
                    wanted = self._projection.wants(entry.header.stream)
                    steps.append(step_of(entry, record.offset + 1, wanted=wanted))
            except (MalformedRecord, GapInLedger, ForeignHistory) as failure:
                return steps, failure
        return steps, None

    async def _pause(self, error: Exception) -> None:
        if not self._failures:
            _log.warning("projection %s waits: %s", self._projection.name, error)
        pause_seconds = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
        self._failures += 1
        await self._clock.sleep(pause_seconds)
