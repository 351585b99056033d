"""The embedded profile's shell around the detectors: one task a partition, its entries and offset in one file."""

from collections import ChainMap
from typing import Final

import structlog

from keyledger.contracts.alert import Alert
from keyledger.contracts.failpoints import reach
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import AUTH_BY_SOURCE, Topic
from keyledger.detection.records import SWEEP_EVERY_MS, Observed, is_forgettable, observe_record, read_attempts
from keyledger.eventlog.port import EventLog, LogUnavailable, OffsetOutOfRange, Record
from keyledger.projections.port import ReadModelUnavailable
from keyledger.runtime.together import run_together
from keyledger_anomalies.alerts import Publish
from keyledger_anomalies.detector_state import DetectorState
from keyledger_anomalies.tally import Tally

BATCH: Final = 100
"""Records held at once: 25 MB at their largest."""

POLL_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


class DetectorLoop:
    """Folds every record of the topic once; publishes its alerts, acknowledged, before it writes what it folded.

    So a crash between the two says the same alerts again, under the same ids, and never loses one.
    """

    def __init__(
        self,
        event_log: EventLog,
        state: DetectorState,
        publish: Publish,
        *,
        clock: Clock,
        tally: Tally,
        topic: Topic = AUTH_BY_SOURCE,
    ) -> None:
        self._log, self._state, self._publish = event_log, state, publish
        self._clock, self._tally, self._topic = clock, tally, topic
        self._behind = set(range(topic.partitions))

    def unready(self) -> str | None:
        """Say what is not read yet; None once all partitions are read to where they were at the start."""
        return f"attempts of partitions {sorted(self._behind)} are still being read" if self._behind else None

    async def run(self) -> None:
        """Follow all partitions until cancelled. A log or database that is away is waited for.

        Raises:
            CheckpointMoved: another process runs this loop over the same file.
            MalformedRecord: a record is none of attempts; nothing after it was read.
        """
        await run_together(**{f"detector_{number}": self._follow(number) for number in range(self._topic.partitions)})

    async def _follow(self, partition: int) -> None:
        while True:
            try:
                await self._state.prepare()
                await self._follow_from_stored(partition)
            except (LogUnavailable, ReadModelUnavailable, OffsetOutOfRange) as error:
                log.warning("attempts wait to be read", partition=partition, error=str(error))
                await self._clock.sleep(RETRY_SECONDS)

    async def _follow_from_stored(self, partition: int) -> None:
        """Follow from what the file says, so that a batch whose commit failed is folded again from the right state."""
        offset, entries = await self._state.load(partition)
        first, goal = await self._log.bounds(self._topic.name, partition)
        if offset < first:
            # Retention deleted what was never read. Each node's next number says how much of it was lost.
            log.warning("attempts were deleted unread", partition=partition, next_offset=offset, first_held=first)
        if offset > goal:
            # A power cut took the end of the log, or all of it is gone. What was folded stands under offsets that will
            # be given out again: kept, it would make the next attempts look like old ones.
            log.warning(
                "the log is shorter than what was read of it", partition=partition, next_offset=offset, end=goal
            )
            await self._state.commit(partition, expected=offset, new=first, changed={}, forgotten=list(entries))
            offset, entries = first, {}
        swept_ms = 0
        reader = await self._log.reader(self._topic.name, partition, max(offset, first))
        try:
            while True:
                if max(offset, first) >= goal:
                    self._behind.discard(partition)
                records = await reader.poll(max_records=BATCH, timeout_seconds=POLL_SECONDS)
                if not records:
                    continue
                changed, alerts = self._fold(records, entries)
                if alerts:
                    reach("detector.before_alerts")
                    await self._publish(alerts)
                    reach("detector.after_alerts")
                now_ms, forgotten = records[-1].timestamp, list[str]()
                if now_ms >= swept_ms + SWEEP_EVERY_MS:
                    forgotten = [k for k, e in entries.items() if k not in changed and is_forgettable(e, now_ms)]
                    swept_ms = now_ms
                new = records[-1].offset + 1
                await self._state.commit(partition, expected=offset, new=new, changed=changed, forgotten=forgotten)
                reach("detector.after_table")
                offset = new
                entries.update(changed)
                for key in forgotten:
                    del entries[key]
        finally:
            await reader.close()

    def _fold(self, records: list[Record], entries: dict[str, bytes]) -> tuple[dict[str, bytes], list[Alert]]:
        changed: dict[str, bytes] = {}
        alerts: list[Alert] = []
        view = ChainMap(changed, entries)
        for record in records:
            attempts = read_attempts(record)
            observed: Observed = observe_record(attempts, view)
            changed.update(observed.entries)
            alerts.extend(observed.alerts)
            self._tally.count(attempts, observed)
        return changed, alerts
