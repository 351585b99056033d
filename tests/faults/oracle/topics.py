"""The log's topics against the ledger, and the alerts against a fold of all attempts."""

from collections.abc import Sequence

from keyledger.contracts.alert import Alert
from keyledger.contracts.envelope import Entry
from keyledger.contracts.topics import ALERTS, AUTH_BY_SOURCE
from keyledger.eventlog.port import EventLog, Record
from keyledger.eventstore.port import Ledger
from keyledger_anomalies.projector import read_alert
from keyledger_relay.feeds import FEEDS, Feed
from tests.faults.oracle.ledger import rows_of
from tests.unit.detection.attempts import fold
from tests.unit.relay.kit import records_of


async def topic_violations(ledger: Ledger, log: EventLog) -> list[str]:
    """Return what is wrong on either ledger topic: each position in order, byte for byte as the ledger says.

    Resends are allowed. The relay must have reached the ledger's head.
    """
    rows = await rows_of(ledger)
    return [
        violation
        for feed in FEEDS
        for violation in feed_violations(feed, await records_of(log, feed.topic), rows, ledger.store_id)
    ]


def feed_violations(feed: Feed, records: Sequence[Record], rows: Sequence[Entry], store_id: str) -> list[str]:
    """Return what a reader of one topic would miss, get twice in two forms, or get out of order."""
    due = feed.records(rows, store_id)
    violations: list[str] = []
    last = 0
    for record in records:
        stated = dict(record.headers).get("ce_id", b"")
        position = int(stated) if stated.isdigit() else 0
        if not 0 < position <= len(due):
            violations.append(f"{feed.topic} offset {record.offset}: position {stated!r} is not in the ledger")
            continue
        if position > last + 1:
            violations.append(f"{feed.topic} offset {record.offset}: {position} follows {last}")
        expected = due[position - 1]
        if (record.key, record.value, record.headers) != (expected.key, expected.value, expected.headers):
            violations.append(f"{feed.topic} offset {record.offset}: position {position} is not what the ledger holds")
        last = max(last, position)
    if last != len(due):
        violations.append(f"{feed.topic} ends at position {last}, the ledger at {len(due)}")
    return violations


async def alert_violations(log: EventLog) -> list[str]:
    """Return how the alerts on the topic differ from those that a fold of all attempts says; repeats are allowed."""
    said: dict[str, Alert] = {}
    violations: list[str] = []
    for record in await records_of(log, ALERTS.name):
        alert = read_alert(record)
        if said.setdefault(alert.id, alert) != alert:
            violations.append(f"alert {alert.id} was said in two forms")
    expected = await folded_alerts(log)
    violations += [f"alert {id_} was never said" for id_ in expected.keys() - said.keys()]
    violations += [f"alert {id_} was said and should not have been" for id_ in said.keys() - expected.keys()]
    violations += [f"alert {id_} differs" for id_ in expected.keys() & said.keys() if expected[id_] != said[id_]]
    return violations


async def folded_alerts(log: EventLog) -> dict[str, Alert]:
    """Return the alerts that an undisturbed fold of all attempts says, by id."""
    folded = [
        fold(await records_of(log, AUTH_BY_SOURCE.name, partition))[0] for partition in range(AUTH_BY_SOURCE.partitions)
    ]
    return {alert.id: alert for alerts in folded for alert in alerts}
