"""Drives a fold: reads the ledger from the log, and keeps order, versions, transactions and the checkpoint.

Effectively once: the version guard, the rows and the compare-and-set checkpoint stand in one transaction of the read
model's own database. The guard is the correctness and the offset only speed: a wrong offset costs reading again.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Generic, NoReturn

from msgspec import Struct

from keyledger.contracts.cloudevents import MalformedRecord, read_private
from keyledger.contracts.envelope import Entry, Fact, Header
from keyledger.contracts.ports import Clock
from keyledger.contracts.registry import UndecodableEvent, decode
from keyledger.contracts.topics import LEDGER
from keyledger.eventlog.port import EventLog, LogUnavailable, OffsetOutOfRange, Reader, Record
from keyledger.projections.order import Chain, ForeignHistory, GapInLedger
from keyledger.projections.port import Checkpoint, Projection, ReadModel, ReadModelUnavailable, Row, Versioned
from keyledger.projections.waiters import MAX_WAITERS, Waiters

PARTITION: Final = 0
MAX_BATCH: Final = 1_000
POLL_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class PoisonedEvent(Exception):
    """An event that cannot be decoded or folded here. The projection stands before it until the fold is mended."""

    def __init__(self, header: Header, why: str) -> None:
        super().__init__(f"position {header.position} ({header.type} of {header.stream}): {why}")
        self.header = header


class Counts(Struct):
    """What a runner did and met since it was made, for metrics."""

    applied: int = 0
    batches: int = 0
    log_retries: int = 0
    read_model_retries: int = 0
    rewinds: int = 0


class _Step(Struct, frozen=True):
    """One row that comes next: where it stands, and what it says (None: nothing to this projection)."""

    header: Header
    hash: bytes
    next_offset: int
    wanted: bool
    fact: Fact | None


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
        self._checkpoint = Checkpoint()
        self._failures = 0
        self.counts = Counts()

    @property
    def checkpoint(self) -> Checkpoint:
        """How far the read model is; ``Checkpoint()`` until ``run`` has read it, or while it is empty."""
        return self._checkpoint

    @property
    def position(self) -> int:
        """The last position that was committed to the read model."""
        return self._checkpoint.position

    async def wait_for(self, position: int, *, timeout_seconds: float) -> bool:
        """Return True once ``position`` is committed; False after the timeout, or at once when too many wait."""
        return await self._waiters.wait_for(position, timeout_seconds=timeout_seconds)

    async def run(self) -> NoReturn:
        """Follow the ledger until cancelled. What was read before a stop is committed first.

        Raises:
            PoisonedEvent: the next event cannot be decoded or folded, or is not the next of its stream.
            GapInLedger: positions are missing from the topic, also from its first record on.
            ForeignHistory: the topic holds another ledger's history than the read model.
            MalformedRecord: a record that is no ledger row, or whose contents do not have the hash it states.
            CheckpointMoved: another runner writes this read model; this one is a zombie.
        """
        rewind = False
        while True:
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
        self._reached(await self._read_model.checkpoint())
        chain = Chain(self._checkpoint)
        offset = self._checkpoint.next_offset
        if rewind:
            self.counts.rewinds += 1
            offset, _ = await self._event_log.bounds(self._topic, PARTITION)
        try:
            reader = await self._event_log.reader(self._topic, PARTITION, offset)
            try:
                await self._fold_all(reader, chain)
            finally:
                await reader.close()
        except OffsetOutOfRange:
            return True
        except GapInLedger:
            # A topic that was made anew has other offsets: what seems to be missing may stand before this one.
            if rewind or offset == 0:
                raise
            return True

    async def _fold_all(self, reader: Reader, chain: Chain) -> NoReturn:
        while True:
            records = await self._poll(reader)
            steps, failure = self._understand(chain, records)
            await self._apply_until_poison(chain.store, steps)
            if failure is not None:
                raise failure
            self._failures = 0

    async def _poll(self, reader: Reader) -> list[Record]:
        while True:
            try:
                records = await reader.poll(max_records=self._max_batch, timeout_seconds=POLL_SECONDS)
            except LogUnavailable as error:
                self.counts.log_retries += 1
                await self._pause(error)
            else:
                return records

    def _understand(self, chain: Chain, records: Sequence[Record]) -> tuple[list[_Step], Exception | None]:
        """Return the rows that come next, and what ended them early, to be raised once they are committed."""
        steps: list[_Step] = []
        for record in records:
            try:
                source, entry = read_private(record.headers, record.value)
                if chain.admit(source, entry):
                    steps.append(self._step(entry, record.offset + 1))
            except (MalformedRecord, GapInLedger, ForeignHistory, PoisonedEvent) as failure:
                return steps, failure
        return steps, None

    def _step(self, entry: Entry, next_offset: int) -> _Step:
        wanted = self._projection.wants(entry.header.stream)
        try:
            fact = decode(entry) if wanted else None
        except UndecodableEvent as error:
            raise PoisonedEvent(entry.header, str(error)) from error
        return _Step(entry.header, entry.hash, next_offset, wanted, fact)

    async def _apply_until_poison(self, store: str, steps: Sequence[_Step]) -> None:
        try:
            await self._apply(store, steps)
        except PoisonedEvent as poison:
            await self._apply(store, [step for step in steps if step.header.position < poison.header.position])
            raise

    async def _apply(self, store: str, steps: Sequence[_Step]) -> None:
        if not steps:
            return
        last = steps[-1]
        new = Checkpoint(store, last.header.position, last.hash, last.next_offset)
        async with self._read_model.transaction() as rows:
            await rows.move_checkpoint(expected=self._checkpoint, new=new)
            loaded = await rows.load({step.header.stream for step in steps if step.wanted})
            await rows.save(fold(self._projection, loaded, steps))
        self.counts.applied += len(steps)
        self.counts.batches += 1
        self._reached(new)

    def _reached(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._waiters.advance(checkpoint.position)

    async def _pause(self, error: Exception) -> None:
        if not self._failures:
            _log.warning("projection %s waits: %s", self._projection.name, error)
        pause_seconds = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
        self._failures += 1
        await self._clock.sleep(pause_seconds)


def fold(
    projection: Projection[Row], loaded: Mapping[str, Versioned[Row]], steps: Sequence[_Step]
) -> dict[str, Versioned[Row]]:
    """Return the rows that changed. Each event is folded only if it is the next of its stream; an older one is in.

    Raises:
        PoisonedEvent: the fold raised, or an event of the stream before this one is missing.
    """
    changed: dict[str, Versioned[Row]] = {}
    for step in steps:
        header = step.header
        if not step.wanted:
            continue
        current = changed.get(header.stream) or loaded.get(header.stream) or Versioned(0, None)
        if header.version <= current.version:
            continue
        if header.version != current.version + 1:
            raise PoisonedEvent(header, f"it is version {header.version}, but its row reflects {current.version}")
        row = current.row if step.fact is None else _project(projection, current.row, step.fact)
        changed[header.stream] = Versioned(header.version, row)
    return changed


def _project(projection: Projection[Row], row: Row | None, fact: Fact) -> Row | None:
    try:
        return projection.project(row, fact)
    except Exception as error:
        raise PoisonedEvent(fact.header, f"it cannot be folded: {type(error).__name__}: {error}") from error
