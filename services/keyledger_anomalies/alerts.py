"""Alerts as records of ``keyledger.alerts.v1``."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from keyledger.contracts.alert import RECORD_TYPE, Alert, encode_alert
from keyledger.contracts.cloudevents import attributes
from keyledger.contracts.topics import ALERTS, Topic
from keyledger.eventlog.port import EventLog, NewRecord, Producer

SOURCE: Final = "/keyledger/anomalies"
PARTITION: Final = 0

Publish = Callable[[Sequence[Alert]], Awaitable[None]]
"""Returns when the alerts are acknowledged; raises LogUnavailable when they may not be there."""


def alert_record(alert: Alert) -> NewRecord:
    """Return the record of an alert: its CloudEvents id is the alert's, so a second one is recognised as the same."""
    headers = attributes(
        type=RECORD_TYPE,
        id=alert.id,
        source=SOURCE,
        time=alert.last_seen,
        subject=alert.subject,
        organizationid=alert.organization_id,
    )
    return NewRecord(alert.id.encode(), encode_alert(alert), headers)


class AlertPublisher:
    """Says alerts on ``keyledger.alerts.v1``; connects at the first one."""

    def __init__(self, event_log: EventLog, *, topic: Topic = ALERTS) -> None:
        self._log, self._topic = event_log, topic
        self._producer: Producer | None = None
        self._connecting = asyncio.Lock()

    async def __call__(self, alerts: Sequence[Alert]) -> None:
        """Return when they are acknowledged. Raises LogUnavailable: they may or may not be there."""
        async with self._connecting:
            if self._producer is None:
                self._producer = await self._log.producer()
        await self._producer.send(self._topic.name, PARTITION, [alert_record(alert) for alert in alerts])

    async def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.close()
