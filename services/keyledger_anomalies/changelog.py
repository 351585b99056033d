"""Writing the Faust table's changelog: what one record changes becomes durable at once, and many records together.

Faust's own ``table[key] = entry`` sends each entry for itself, in the background, and only logs one that fails; it was
measured at 5,500 entries/s, with the offset committed over the hole. Here everything that was folded while the last
write was on its way goes out together: first the alerts, and when they are acknowledged the entries, as one batch of an
idempotent producer. Only then may the offset behind the records be committed.
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
MAX_WAITING_RECORDS: Final = 500
GATHER_SECONDS: Final = 0.005
"""How long a busy lane pauses after a batch, so that the next is larger; an idle one writes at once."""

log = structlog.get_logger(__name__)


class ChangelogLane:
    """The changelog of one partition: one batch at a time, in order.

    ``written`` is the offset behind the last record that is durable, with all before it.

    Args:
        publish: says alerts.
        producer: writes the batches.
        topic: the changelog.
        partition: of the changelog, the same as that of the attempts.
        forget: deletes entries by tombstone and returns when that is acknowledged; may raise LogUnavailable.
        clock: waits between batches and retries.
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
        self.written = 0
        self._folded = 0
        self._records = 0
        self._alerts: list[Alert] = []
        self._entries: dict[str, bytes] = {}
        self._forgotten: set[str] = set()
        self._some, self._room, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._idle.set()

    async def room(self) -> None:
        """Return when few records wait: what is folded but not written is memory, and work to be done again."""
        await self._room.wait()

    def add(self, observed: Observed, forgotten: Collection[str], folded: int) -> None:
        """Take what a record gave; ``written`` is ``folded`` once that and all before it are durable."""
        self._alerts.extend(observed.alerts)
        self._entries.update(observed.entries)
        self._forgotten.update(forgotten)
        self._forgotten.difference_update(observed.entries)
        self._folded = folded
        self._records += 1
        if self._records >= MAX_WAITING_RECORDS:
            self._room.clear()
        self._some.set()
        self._idle.clear()

    async def empty(self) -> None:
        """Return when nothing waits and nothing is on its way."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled. A log that cannot be reached is waited for: writing an entry again changes nothing."""
        while True:
            await self._some.wait()
            alerts, entries = self._alerts, [NewRecord(k.encode(), e) for k, e in self._entries.items()]
            forgotten, folded = self._forgotten, self._folded
            self._alerts, self._entries, self._forgotten, self._records = [], {}, set(), 0
            self._some.clear()
            self._room.set()
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
            self.written = folded
            if not self._records:
                self._idle.set()
            await self._clock.sleep(GATHER_SECONDS)

    async def _until_acknowledged(self, send: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await send()
            except LogUnavailable as error:
                log.warning("the log cannot be reached; writing again", partition=self._partition, error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return
