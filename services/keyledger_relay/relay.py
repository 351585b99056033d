"""The loop: what the ledger holds goes to both topics, in order, and nothing is skipped."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, NoReturn

import structlog
from msgspec import Struct

from keyledger.contracts import failpoints
from keyledger.contracts.envelope import Entry
from keyledger.contracts.ports import Clock
from keyledger.contracts.registry import UndecodableEvent
from keyledger.contracts.topics import EVENTS, HEADS, LEDGER
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, OffsetOutOfRange, Producer
from keyledger.eventstore.port import Ledger, LedgerUnavailable
from keyledger_relay.ends import ForeignTopic, Place, find_end
from keyledger_relay.feeds import FEEDS
from keyledger_relay.held import Held, TopicChanged
from keyledger_relay.metrics import Metrics
from keyledger_relay.patience import Patience
from keyledger_relay.progress import Progress

BATCH_EVENTS: Final = 900
"""The most events of one send: what waits is sent together, and nothing is ever waited for. Their records are made
without a pause (5 us an event) in a loop that others share, and fit into one batch of a broker (1 MB)."""
IN_PROCESS_BATCH_EVENTS: Final = 250
"""The same for a log in this process: so few stay in the processor's cache from the ledger to the log."""
POLL_SECONDS: Final = 1.0
"""How long a lost notification can delay an event at most."""
LOOK_SECONDS: Final = 5.0
"""How often it is looked whether the topics still begin and end where they did: two questions to the log for each."""

log = structlog.get_logger(__name__)


class Outlet(Struct, frozen=True):
    """Who writes to a topic, and what it holds."""

    producer: Producer
    held: Held


class _Batch(Struct, frozen=True):
    """The records that each topic lacks, up to which position, and why not further."""

    records: list[tuple[Outlet, list[NewRecord]]]
    last_position: int
    failure: UndecodableEvent | None = None


class Relay:
    """Tails one ledger into one log. At a failure it looks again where the topics end, and goes on from there."""

    def __init__(
        self,
        ledger: Ledger,
        event_log: EventLog,
        *,
        progress: Progress,
        metrics: Metrics,
        ledger_patience: Patience,
        log_patience: Patience,
        clock: Clock,
        batch_events: int = BATCH_EVENTS,
        works_ahead: bool = True,
    ) -> None:
        """``works_ahead``: make records while the ones before are on their way. For a log that is another process.

        In one process both would only take the interpreter's lock from each other. There the next rows are read
        meanwhile, and no more: SQLite does most of that, and of the sending, without the lock.
        """
        self._ledger = ledger
        self._log = event_log
        self._progress = progress
        self._metrics = metrics
        self._ledger_patience = ledger_patience
        self._log_patience = log_patience
        self._clock = clock
        self._batch_events = batch_events
        self._works_ahead = works_ahead
        self._may_lack_records: set[str] = set()
        self._held: dict[str, Held] = {}
        self._looked_at = clock.monotonic()

    async def run(self) -> NoReturn:
        """Relay until cancelled.

        Raises:
            ForeignTopic: the ledger and a topic do not tell the same story.
            UndecodableEvent: a row cannot be given its published form.
            TopicMismatch: a topic exists with other settings than it must have.
        """
        while True:
            try:
                await self._from_where_the_topics_end()
            except (LogUnavailable, OffsetOutOfRange) as error:
                await self._log_patience.failed(error)
            except TopicChanged as error:
                if error.may_lack_records:
                    self._may_lack_records.add(error.feed.topic)
                await self._log_patience.failed(error)
            except LedgerUnavailable as error:
                await self._ledger_patience.failed(error)

    async def _from_where_the_topics_end(self) -> NoReturn:
        await self._log.ensure_topics((LEDGER, EVENTS, HEADS))
        # Producers of their own for each attempt: what a lost one still holds must not queue up behind the next. One
        # for each topic: a client of Kafka has one request at a time under way to a broker.
        async with contextlib.AsyncExitStack() as producers:
            outlets: list[Outlet] = []
            ends: list[Place] = []
            for feed in FEEDS:
                producer = await self._log.producer()
                producers.push_async_callback(producer.close)
                in_full = feed.topic in self._may_lack_records
                end = await find_end(self._log, self._ledger, feed, in_full=in_full)
                held = Held(feed, end.place.position, end.first_offset, end.next_offset)
                if feed.topic in self._held and not in_full:
                    await self._held[feed.topic].look_up_to(self._log, held)
                self._held[feed.topic] = held
                outlets.append(Outlet(producer, held))
                ends.append(end.place)
            self._may_lack_records.clear()
            head = await self._ledger.head()
            self._ledger_patience.succeeded()
            # From where the shorter one ends; the longer one is given only what it does not hold.
            shorter = min(ends, key=lambda place: place.position)
            log.info("relaying", head=head.position, **{one.held.feed.topic: one.held.position for one in outlets})
            self._progress.reach(shorter.position)
            self._progress.start(head.position)
            await self._follow(outlets, shorter)

    async def _follow(self, outlets: Sequence[Outlet], last: Place) -> NoReturn:
        sending: asyncio.Task[None] | None = None
        try:
            while True:
                entries = await self._ledger.read(last.position, limit=self._batch_events)
                self._ledger_patience.succeeded()
                if sending is not None and not self._works_ahead:
                    await sending
                    sending = None
                if entries:
                    last = _continued(last, entries)
                    batch = self._formed(outlets, entries)
                if sending is not None:
                    await sending
                    sending = None
                more = len(entries) == self._batch_events and batch.failure is None
                if more:
                    sending = asyncio.create_task(self._send(batch), name="relay-send")
                elif entries:
                    # A task would be a turn of the loop more, and a revocation waits for each.
                    await self._send(batch)
                    if batch.failure is not None:
                        raise batch.failure
                else:
                    # A ledger that was told of more than it gives answers at once, again and again: the next head,
                    # which notices that it went back, must get its turn.
                    await asyncio.sleep(0)
                await self._look_at_times(outlets)
                if not more:
                    await self._ledger.wait_beyond(last.position, timeout_seconds=POLL_SECONDS)
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])

    async def _look_at_times(self, outlets: Sequence[Outlet]) -> None:
        if self._clock.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        for outlet in outlets:
            await outlet.held.look(self._log)
        self._looked_at = self._clock.monotonic()

    def _formed(self, outlets: Sequence[Outlet], entries: Sequence[Entry]) -> _Batch:
        """Return the records of these rows. What stands before one that has no form is not its hostage."""
        try:
            records = [(outlet, self._missing(outlet.held, entries)) for outlet in outlets]
        except UndecodableEvent as error:
            sound = [entry for entry in entries if entry.header.position < error.header.position]
            records = self._formed(outlets, sound).records if sound else []
            return _Batch(records, error.header.position - 1, error)
        return _Batch([(outlet, missing) for outlet, missing in records if missing], entries[-1].header.position)

    def _missing(self, held: Held, entries: Sequence[Entry]) -> list[NewRecord]:
        return held.feed.records(_after(held.position, entries), self._ledger.store_id)

    async def _send(self, batch: _Batch) -> None:
        """Return when both topics hold these records, acknowledged."""
        sends = [self._send_to(outlet, missing, batch.last_position) for outlet, missing in batch.records]
        # Both end before a failure of one is looked at: else the other would still be writing behind our back.
        for outcome in await asyncio.gather(*sends, return_exceptions=True):
            if outcome is not None:
                raise outcome
        self._log_patience.succeeded()
        self._progress.reach(batch.last_position)

    async def _send_to(self, outlet: Outlet, records: Sequence[NewRecord], last_position: int) -> None:
        topic = outlet.held.feed.topic
        failpoints.reach("relay.before_send")
        last_offset = await outlet.producer.send(topic, 0, records)
        failpoints.reach("relay.after_send")
        self._metrics.sent.labels(topic).inc(len(records))
        await outlet.held.wrote(self._log, last_position, len(records), last_offset)


def _after(position: int, entries: Sequence[Entry]) -> Sequence[Entry]:
    if not entries or entries[0].header.position > position:
        return entries
    return [entry for entry in entries if entry.header.position > position]


def _continued(last: Place, entries: Sequence[Entry]) -> Place:
    """Return the place of the last row, each row having been checked to follow the one before."""
    for entry in entries:
        if entry.header.position != last.position + 1 or entry.prev_hash != last.hash:
            raise ForeignTopic(
                f"the ledger's row at position {entry.header.position} does not follow the one at position "
                f"{last.position} that was published: the ledger was restored from a backup"
            )
        last = Place(entry.header.position, entry.hash)
    return last
