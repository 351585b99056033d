"""The alert that a stream was parked, on ``keyledger.alerts.v1``: it concerns the operator."""

from collections.abc import Collection
from hashlib import sha256
from typing import Final

import msgspec

from keyledger.contracts.alert import RECORD_TYPE, Alert, encode_alert
from keyledger.contracts.cloudevents import attributes
from keyledger.contracts.topics import ALERTS
from keyledger.domain.identifiers import UUID_DIGITS, encode_base62
from keyledger.eventlog.port import EventLog, NewRecord
from keyledger.projections.port import Parked

RULE: Final = "stream-parked"
PARTITION: Final = 0


def parked_alert(projection: str, parked: Parked) -> Alert:
    """Return the alert. It says only what follows from the event: told again, by whichever node, it is the same one."""
    named = msgspec.json.encode((RULE, projection, parked.stream, parked.position))
    return Alert(
        id=f"alert_{encode_base62(int.from_bytes(sha256(named).digest()[:16]), UUID_DIGITS)}",
        rule=RULE,
        severity="high",
        title=f"{projection} cannot fold {parked.type} of {parked.stream} at position {parked.position}",
        organization_id=None,
        subject=parked.stream,
        first_seen=parked.recorded_at,
        last_seen=parked.recorded_at,
        count=1,
        attempt_ids=(),
    )


async def announce(log: EventLog, projection: str, parked: Collection[Parked]) -> None:
    """Return when the alerts are acknowledged. Raises LogUnavailable: they may or may not be there."""
    producer = await log.producer()
    try:
        alerts = (parked_alert(projection, one) for one in parked)
        await producer.send(ALERTS.name, PARTITION, [_record(projection, alert) for alert in alerts])
    finally:
        await producer.close()


def _record(projection: str, alert: Alert) -> NewRecord:
    headers = attributes(
        type=RECORD_TYPE,
        id=alert.id,
        source=f"/keyledger/projections/{projection}",
        time=alert.last_seen,
        subject=alert.subject,
    )
    return NewRecord(alert.id.encode(), encode_alert(alert), headers)
