"""The loop: what the ledger holds goes to both topics, in order, and nothing is skipped."""

import asyncio
from collections.abc import Sequence
from typing import Final, NoReturn

import structlog

from keyledger.contracts import failpoints
from keyledger.contracts.envelope import Entry
from keyledger.contracts.registry import UndecodableEvent
from keyledger.contracts.topics import EVENTS, HEADS, LEDGER
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, OffsetOutOfRange, Producer
from keyledger.eventstore.port import Ledger, LedgerUnavailable
from keyledger_relay.ends import ForeignTopic, Place, find_end
from keyledger_relay.feeds import FEEDS, Feed
from keyledger_relay.metrics import Metrics
from keyledger_relay.patience import Patience
from keyledger_relay.progress import Progress

BATCH_EVENTS: Final = 1_000
"""The most events of one send: what waits is sent together, and nothing is ever waited for. Their records are made
without a pause (20 us an event) in a loop that others share; 5,000 were measured to be no faster."""
POLL_SECONDS: Final = 1.0
"""How long a lost notification can delay an event at most."""

log = structlog.get_logger(__name__)


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
        batch_events: int = BATCH_EVENTS,
    ) -> None:
        self._ledger = ledger
        self._log = event_log
        self._progress = progress
        self._metrics = metrics
        self._ledger_patience = ledger_patience
        self._log_patience = log_patience
        self._batch_events = batch_events

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
            except LedgerUnavailable as error:
                await self._ledger_patience.failed(error)

    async def _from_where_the_topics_end(self) -> NoReturn:
        await self._log.ensure_topics((LEDGER, EVENTS, HEADS))
        # A producer of its own for each attempt: what a lost one still holds must not queue up behind the next.
        producer = await self._log.producer()
        try:
            ends = {feed: await find_end(self._log, self._ledger, feed) for feed in FEEDS}
            head = await self._ledger.head()
            self._ledger_patience.succeeded()
            # From where the shorter one ends; the longer one is given only what it does not hold.
            shorter = min(ends.values(), key=lambda end: end.position)
            log.info("relaying", head=head.position, **{feed.topic: end.position for feed, end in ends.items()})
            self._progress.reach(shorter.position)
            self._progress.start(head.position)
            await self._follow(producer, {feed: end.position for feed, end in ends.items()}, shorter)
        finally:
            await producer.close()

    async def _follow(self, producer: Producer, held: dict[Feed, int], last: Place) -> NoReturn:
        while True:
            entries = await self._ledger.read(last.position, limit=self._batch_events)
            self._ledger_patience.succeeded()
            if not entries:
                await self._ledger.wait_beyond(last.position, timeout_seconds=POLL_SECONDS)
                # A ledger that was told of more than it gives answers at once, again and again: the next head, which
                # notices that it went back, must get its turn.
                await asyncio.sleep(0)
                continue
            last = _continued(last, entries)
            await self._send(producer, held, entries)
            self._log_patience.succeeded()
            self._progress.reach(last.position)

    async def _send(self, producer: Producer, held: dict[Feed, int], entries: Sequence[Entry]) -> None:
        """Return when both topics hold these rows, acknowledged."""
        try:
            records = {feed: feed.records(_after(held[feed], entries), self._ledger.store_id) for feed in FEEDS}
        except UndecodableEvent as error:
            # What stands before it is not its hostage, also not after a restart.
            sound = [entry for entry in entries if entry.header.position < error.header.position]
            if sound:
                await self._send(producer, held, sound)
                self._progress.reach(sound[-1].header.position)
            raise
        sends = [self._send_to(feed.topic, producer, missing) for feed, missing in records.items() if missing]
        # Both end before a failure of one is looked at: else the other would still be writing behind our back.
        for outcome in await asyncio.gather(*sends, return_exceptions=True):
            if outcome is not None:
                raise outcome
        for feed in FEEDS:
            held[feed] = max(held[feed], entries[-1].header.position)

    async def _send_to(self, topic: str, producer: Producer, records: Sequence[NewRecord]) -> None:
        failpoints.reach("relay.before_send")
        await producer.send(topic, 0, records)
        failpoints.reach("relay.after_send")
        self._metrics.sent.labels(topic).inc(len(records))


def _after(position: int, entries: Sequence[Entry]) -> list[Entry]:
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
