"""The fold of ``keyledger.alerts.v1`` into the read model; each alert that is new there gives one log line."""

from typing import Final

import msgspec
import structlog

from keyledger.contracts.alert import RECORD_TYPE, Alert, decode_alert
from keyledger.contracts.cloudevents import TYPE_PREFIX, MalformedRecord, rfc3339
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import ALERTS
from keyledger.eventlog.port import EventLog, LogUnavailable, OffsetOutOfRange, Record
from keyledger.projections.port import ReadModelUnavailable
from keyledger_anomalies.alerts import PARTITION
from keyledger_anomalies.store import AlertStore

BATCH: Final = 500
POLL_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


class AlertProjector:
    """Reads every alert once into the store."""

    def __init__(self, event_log: EventLog, alerts: AlertStore, *, clock: Clock) -> None:
        self._log, self._alerts, self._clock = event_log, alerts, clock
        self._offset = 0
        self._goal: int | None = None
        self._waiting = False

    def unready(self) -> str | None:
        """Say why the store must not be asked yet; None once it holds what the topic held at the start."""
        if self._goal is None or self._offset < self._goal:
            return f"alerts are read up to offset {self._offset} of {self._goal}"
        return None

    async def run(self) -> None:
        """Follow the topic until cancelled. A log or database that is away is waited for.

        Raises:
            CheckpointMoved: another process fills this store.
            MalformedRecord: a record is no alert; nothing after it was read.
        """
        while True:
            try:
                await self._follow()
            except (LogUnavailable, ReadModelUnavailable) as error:
                await self._pause(error)
            except OffsetOutOfRange as error:
                log.warning("the alerts' topic is another one than before, or is shorter: read anew", error=str(error))
                await self._start_anew()

    async def _follow(self) -> None:
        await self._alerts.prepare()
        # From the database each time: a commit whose answer was lost is neither repeated nor taken for another's.
        self._offset = await self._alerts.next_offset()
        if self._goal is None:
            _, self._goal = await self._log.bounds(ALERTS.name, PARTITION)
        self._waiting = False
        reader = await self._log.reader(ALERTS.name, PARTITION, self._offset)
        try:
            while True:
                records = await reader.poll(max_records=BATCH, timeout_seconds=POLL_SECONDS)
                if records:
                    await self._apply(records)
        finally:
            await reader.close()

    async def _start_anew(self) -> None:
        """Go back to where the topic begins; an alert that is stored already is not stored again."""
        try:
            first, _ = await self._log.bounds(ALERTS.name, PARTITION)
            await self._alerts.store([], expected=self._offset, new=first)
        except (LogUnavailable, ReadModelUnavailable) as error:
            await self._pause(error)

    async def _pause(self, error: Exception) -> None:
        if not self._waiting:  # told once, not at each try
            log.warning("alerts wait to be read", error=str(error))
        self._waiting = True
        await self._clock.sleep(RETRY_SECONDS)

    async def _apply(self, records: list[Record]) -> None:
        alerts = [read_alert(record) for record in records]
        new = records[-1].offset + 1
        for alert in await self._alerts.store(alerts, expected=self._offset, new=new):
            log.warning(
                "alert",
                alert=alert.id,
                rule=alert.rule,
                severity=alert.severity,
                title=alert.title,
                organization=alert.organization_id,
                subject=alert.subject,
                count=alert.count,
                first_seen=rfc3339(alert.first_seen),
                last_seen=rfc3339(alert.last_seen),
            )
        self._offset = new


def read_alert(record: Record) -> Alert:
    """Return the alert a record carries. Raises MalformedRecord with the record's place."""
    named = dict(record.headers)
    try:
        if named["ce_type"].decode() != TYPE_PREFIX + RECORD_TYPE:
            raise MalformedRecord(f"{record.topic} offset {record.offset}: not an alert")
        return decode_alert(record.value or b"")
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise MalformedRecord(f"{record.topic} offset {record.offset}: no alert: {error}") from error
