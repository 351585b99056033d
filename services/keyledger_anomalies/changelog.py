"""Writing the Faust table's changelog: what one record changes becomes durable at once, and many records together.

Faust's own ``table[key] = entry`` sends each entry for itself, in the background, and only logs one that fails; it was
measured at 5,500 entries/s, with the offset committed over the hole. Here everything that was folded while the last
write was on its way goes out together: first the alerts, and when they are acknowledged the entries, as one batch of an
idempotent producer. Only then are the records acknowledged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final

import structlog

from keyledger.contracts.alert import Alert
from keyledger.contracts.failpoints import reach
from keyledger.contracts.ports import Clock
from keyledger.detection.records import Observed
from keyledger.eventlog.port import LogUnavailable, NewRecord, Producer
from keyledger_anomalies.alerts import Publish

RETRY_SECONDS: Final = 0.2
MAX_WAITING_RECORDS: Final = 64

log = structlog.get_logger(__name__)


class ChangelogLane:
    """The changelog of one partition: one batch at a time, in order.

    Args:
        publish: says alerts.
        producer: writes the batches.
        topic: the changelog.
        partition: of the changelog, the same as that of the attempts.
        forget: deletes entries by tombstone and returns when that is acknowledged; may raise LogUnavailable.
        clock: waits between retries.
    """

    def __init__(
        self,
        producer: Producer,
        topic: str,
        partition: int,
        *,
        publish: Publish,
        forget: Callable[[int, Collection[str]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._producer, self._topic, self._partition = producer, topic, partition
        self._publish, self._forget, self._clock = publish, forget, clock
        self._alerts: list[Alert] = []
        self._entries: dict[str, bytes] = {}
        self._forgotten: set[str] = set()
        self._written: list[Callable[[], None]] = []
        self._changed = asyncio.Condition()
        self._writing = False

    async def put(self, observed: Observed, forgotten: Collection[str], written: Callable[[], None]) -> None:
        """Take what a record gave; call ``written`` once that and all before it are durable.

        Waits while too many records wait: what is folded but not written is memory, and work to be done again.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._written) < MAX_WAITING_RECORDS)
            self._alerts.extend(observed.alerts)
            self._entries.update(observed.entries)
            self._forgotten = (self._forgotten | set(forgotten)) - observed.entries.keys()
            self._written.append(written)
            self._changed.notify_all()

    async def empty(self) -> None:
        """Return when nothing waits and nothing is on its way."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._written and not self._writing)

    async def run(self) -> None:
        """Write until cancelled. A log that cannot be reached is waited for: writing an entry again changes nothing."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._written)
                alerts, entries = self._alerts, [NewRecord(k.encode(), e) for k, e in self._entries.items()]
                forgotten, written = self._forgotten, self._written
                self._alerts, self._entries, self._forgotten, self._written = [], {}, set(), []
                self._writing = True
                self._changed.notify_all()
            if alerts:
                reach("detector.before_alerts")
                await self._until_acknowledged(partial(self._publish, alerts))
                reach("detector.after_alerts")
            if entries:
                await self._until_acknowledged(partial(self._producer.send, self._topic, self._partition, entries))
                reach("detector.after_table")
            if forgotten:
                # Waited for, because it goes another way: it must not overtake, or be overtaken by, a later entry.
                await self._until_acknowledged(partial(self._forget, self._partition, forgotten))
            for done in written:
                done()
            async with self._changed:
                self._writing = False
                self._changed.notify_all()

    async def _until_acknowledged(self, send: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await send()
            except LogUnavailable as error:
                log.warning("the log cannot be reached; writing again", partition=self._partition, error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return
