"""The fold of ``keyledger.alerts.v1`` into the read model; each alert that is new there gives one log line."""

from collections.abc import Collection, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from keyledger.contracts.alert import RECORD_TYPE, Alert, decode_alert
from keyledger.contracts.cloudevents import TYPE_PREFIX, MalformedRecord, rfc3339
from keyledger.contracts.ports import Clock
from keyledger.contracts.registry import UNREADABLE
from keyledger.contracts.topics import ALERTS
from keyledger.eventlog.port import EventLog, LogUnavailable, OffsetOutOfRange, Record
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.announcing import announce
from keyledger.projections.port import Parked, ReadModel, ReadModelUnavailable
from keyledger_anomalies.alerts import PARTITION
from keyledger_anomalies.store import NAME, AlertStore, store

BATCH: Final = 500
POLL_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


class UnreadableAlert(Exception):
    """A record that has an id, but holds no alert that is known here. It is parked under its id."""

    def __init__(self, parked: Parked) -> None:
        super().__init__(f"offset {parked.offset} ({parked.type} {parked.stream}): {parked.reason}")
        self.parked = parked


class AlertProjector:
    """Reads every alert once into the store."""

    def __init__(self, event_log: EventLog, alerts: AlertStore, *, clock: Clock) -> None:
        self._log, self._alerts, self._clock = event_log, alerts, clock
        self._offset = 0
        self._goal: int | None = None
        self._waiting = False
        self.parked: dict[str, Parked] = {}

    def unready(self) -> str | None:
        """Say why the store must not be asked yet; None once it holds what the topic held at the start."""
        if self._goal is None or self._offset < self._goal:
            return f"alerts are read up to offset {self._offset} of {self._goal}"
        return None

    async def run(self) -> None:
        """Follow the topic until cancelled. A log or database that is away is waited for.

        A record that holds no alert waits under its id, and is tried again at each start and whenever it is asked for.

        Raises:
            CheckpointMoved: another process fills this store.
            MalformedRecord: a record is no CloudEvent with an id; nothing after it was read.
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
        _, end = await self._log.bounds(ALERTS.name, PARTITION)
        # What the generation before this program's has told is not told again.
        await fill(self._log, self._alerts.current, min(self._alerts.before.next_offset, end))
        self._offset = await self._alerts.next_offset()
        self._goal = end if self._goal is None else self._goal
        self._waiting = False
        self.parked = await self._alerts.parked()
        if self.parked:
            await announce(self._log, NAME, self.parked.values())
            await self._retry(self.parked)
        reader = await self._log.reader(ALERTS.name, PARTITION, self._offset)
        try:
            while True:
                records = await reader.poll(max_records=BATCH, timeout_seconds=POLL_SECONDS)
                if records:
                    await self._apply(records)
                if self.parked:
                    await self._retry(await self._alerts.take_retry_requests())
                await self._look_for_successor()
        finally:
            await reader.close()

    async def _look_for_successor(self) -> None:
        successor = await self._alerts.successor()
        if successor is None:
            return
        try:
            await fill(self._log, successor, self._offset)
            if (await successor.checkpoint()).next_offset != self._offset:
                return
            await self._alerts.switch(successor)
        except CheckpointMoved as error:  # an operator deleted it, or builds it anew: that ends nobody who serves
            log.warning("alerts go on without what was built beside them", error=str(error))
        else:
            self.parked = await self._alerts.parked()

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

    async def _apply(self, records: Sequence[Record]) -> None:
        alerts, parked = understood(records)
        new = records[-1].offset + 1
        for alert in await store(self._alerts.current, alerts, expected=self._offset, new=new, parked=parked):
            _tell(alert)
        self._offset = new
        for alert in alerts:
            self.parked.pop(alert.id, None)
        if parked:
            self.parked |= {one.stream: one for one in parked}
            for one in parked:
                log.error("an alert is parked", alert=one.stream, offset=one.offset, why=one.reason)
            await announce(self._log, NAME, parked)

    async def _retry(self, ids: Collection[str]) -> None:
        """Read again the records that are parked under these ids."""
        for parked in [self.parked[one] for one in ids if one in self.parked]:
            record = await self._record_of(parked)
            if record is None:
                log.error("the record of a parked alert is gone", alert=parked.stream, offset=parked.offset)
                continue
            alerts, still = understood([record])
            again = [replace(one, tries=parked.tries + 1) for one in still]
            here = self._offset
            for alert in await store(self._alerts.current, alerts, expected=here, new=here, parked=again):
                _tell(alert)
        self.parked = await self._alerts.parked()

    async def _record_of(self, parked: Parked) -> Record | None:
        reader = await self._log.reader(ALERTS.name, PARTITION, parked.offset)
        try:
            found = await reader.poll(max_records=1, timeout_seconds=POLL_SECONDS)
        except OffsetOutOfRange:  # the topic is another one
            return None
        finally:
            await reader.close()
        return next((one for one in found if dict(one.headers).get("ce_id") == parked.stream.encode()), None)


async def fill(event_log: EventLog, generation: ReadModel[Alert], offset: int) -> None:
    """Fold the topic into a generation exactly up to ``offset``, and tell nobody."""
    here = (await generation.checkpoint()).next_offset
    first, _ = await event_log.bounds(ALERTS.name, PARTITION)
    if here < first:
        await store(generation, [], expected=here, new=first)
    here = max(here, first)
    reader = await event_log.reader(ALERTS.name, PARTITION, here)
    try:
        while here < offset:
            records = await reader.poll(max_records=BATCH, timeout_seconds=POLL_SECONDS)
            wanted = [record for record in records if record.offset < offset]
            if wanted:
                alerts, parked = understood(wanted)
                new = offset if len(wanted) < len(records) else wanted[-1].offset + 1
                await store(generation, alerts, expected=here, new=new, parked=parked)
                here = new
            elif records:
                await store(generation, [], expected=here, new=offset)
                here = offset
    finally:
        await reader.close()


def understood(records: Sequence[Record]) -> tuple[list[Alert], list[Parked]]:
    """Return the alerts that records carry, and marks of those that carry none. Raises MalformedRecord."""
    alerts, parked = list[Alert](), list[Parked]()
    for record in records:
        try:
            alerts.append(read_alert(record))
        except UnreadableAlert as unreadable:
            parked.append(unreadable.parked)
    return alerts, parked


def read_alert(record: Record) -> Alert:
    """Return the alert a record carries.

    Raises:
        MalformedRecord: it is no CloudEvent with an id, and says where it stands.
        UnreadableAlert: it is one, but no alert that is known here.
    """
    named = dict(record.headers)
    try:
        alert_id, event_type = named["ce_id"].decode(), named["ce_type"].decode()
    except (KeyError, ValueError) as error:
        raise MalformedRecord(f"{record.topic} offset {record.offset}: no alert: {error}") from error
    why = "it is of another type"
    if event_type == TYPE_PREFIX + RECORD_TYPE:
        try:
            return decode_alert(record.value or b"")
        except UNREADABLE as error:
            why = f"it cannot be decoded: {type(error).__name__}"
    raise UnreadableAlert(
        Parked(
            stream=alert_id,
            position=record.offset,
            version=1,
            type=event_type.removeprefix(TYPE_PREFIX),
            recorded_at=record.timestamp * 1_000,
            offset=record.offset,
            reason=why,
        )
    )


def _tell(alert: Alert) -> None:
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
