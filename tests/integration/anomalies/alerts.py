"""Alerts for tests, and a read model of them on either database."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from keyledger.contracts.alert import Alert
from keyledger.eventlog.port import NewRecord
from keyledger_anomalies.alerts import alert_record
from keyledger_anomalies.store import AlertStore
from tests.integration.projections.places import alerts_at

START = 1_700_000_000 * 1_000_000


def alert(number: int, *, organization_id: str | None = "org_a", rule: str = "failed-burst", at: int = 0) -> Alert:
    return Alert(
        id=f"alert_{number:022}",
        rule=rule,
        severity="medium",
        title="5 failed attempts from 192.0.2.1 within 10 minutes",
        organization_id=organization_id,
        subject="192.0.2.1",
        first_seen=START,
        last_seen=START + at,
        count=5,
        attempt_ids=("a", "b", "c", "d", "e"),
    )


def unreadable(number: int) -> NewRecord:
    """Return the record of an alert that only a later version can read."""
    record = alert_record(alert(number))
    return msgspec.structs.replace(record, value=record.value.replace(b'"medium"', b'"enormous"'))


class Stored:
    """A store on the database of ``url``."""

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[AlertStore]:
        store = alerts_at(url)
        await store.prepare()
        yield store
        await store.close()


class OnSqlite:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'alerts.db'}"


@pytest.mark.postgres
class OnPostgres:
    @pytest.fixture
    def url(self, postgres_database: str) -> str:
        return postgres_database
