"""Attempts and records by hand, for the detectors' tests."""

from collections.abc import Mapping, Sequence

import msgspec

from keyledger.contracts.alert import Alert
from keyledger.contracts.auth_event import RECORD_TYPE, AuthAttempt, record_id
from keyledger.contracts.cloudevents import attributes
from keyledger.contracts.verdict import Code
from keyledger.detection.records import observe_record, read_attempts
from keyledger.eventlog.port import Record

MINUTE = 60 * 1_000_000
START = 1_700_000_000 * 1_000_000
START_MS = START // 1000


def attempt(
    number: int,
    at: int,
    *,
    source: str = "192.0.2.1",
    code: Code = "invalid-credential",
    organization_id: str | None = "org_a",
) -> AuthAttempt:
    """One attempt; ``at`` counts microseconds from the start."""
    return AuthAttempt(
        id=f"attempt-{number}",
        at=START + at,
        node="n1",
        surface="verify",
        code=code,
        source=source,
        organization_id=organization_id,
    )


def record(
    attempts: Sequence[AuthAttempt],
    *,
    number: int,
    offset: int,
    boot: str = "b1",
    partition: int = 0,
    timestamp: int = START_MS,
) -> Record:
    """The record that carries these attempts."""
    headers = attributes(
        type=RECORD_TYPE, id=record_id("node.with.dots", boot, partition, number), source="/n1", time=START
    )
    return Record(
        "keyledger.auth-by-source.v1", partition, offset, timestamp, None, msgspec.json.encode(attempts), headers
    )


def fold(records: Sequence[Record], entries: Mapping[str, bytes] | None = None) -> tuple[list[Alert], dict[str, bytes]]:
    """Fold records one after the other, each wholly written, as a shell does."""
    table, alerts = dict(entries or {}), list[Alert]()
    for each in records:
        observed = observe_record(read_attempts(each), table)
        alerts.extend(observed.alerts)
        table.update(observed.entries)
    return alerts, table
