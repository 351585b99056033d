"""The alerts' topic becomes the alerts' read model, on both databases: each alert once, also when it is built anew."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from keyledger.contracts.alert import Alert
from keyledger.contracts.cloudevents import MalformedRecord
from keyledger.contracts.topics import ALERTS
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.port import NewRecord, Record
from keyledger.projections.sql_read_model import SqlGeneration
from keyledger.runtime.clock import SystemClock
from keyledger_anomalies.alerts import AlertPublisher, alert_record
from keyledger_anomalies.projector import AlertProjector, fill, understood
from keyledger_anomalies.store import AlertsTable, AlertStore
from tests.integration.anomalies.alerts import OnPostgres, OnSqlite, Stored, alert, unreadable
from tests.unit.projections.following import DEADLINE_SECONDS, running, until


class AlertsProjected(Stored):
    """What the projector guarantees, on one database."""

    async def test_each_new_alert_of_the_topic_is_one_log_line_however_often_it_is_published(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(1), alert(2)])
            await publish([alert(2), alert(3)])
            projector = projector_of(log, store)
            with structlog.testing.capture_logs() as lines:
                await caught_up(projector)
            assert told(lines) == [alert(n).id for n in (1, 2, 3)]
            assert {line["log_level"] for line in lines} == {"warning"}
            await publish.close()
            assert await store.next_offset() == 4

    async def test_a_topic_that_was_lost_is_read_anew_and_stores_nothing_twice(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        said = []
        for folder, published in (("before", [1, 2, 3]), ("after", [3, 4])):
            (tmp_path / folder).mkdir()
            async with alerts_log(tmp_path / folder) as log:
                publish = AlertPublisher(log)
                await publish([alert(number) for number in published])
                with structlog.testing.capture_logs() as lines:
                    await read_up_to(len(published), projector_of(log, store), store)
                said += told(lines)
                await publish.close()
        assert said == [alert(number).id for number in (1, 2, 3, 4)]

    async def test_a_record_that_is_no_alert_stops_the_projector_before_it(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            producer = await log.producer()
            await producer.send(ALERTS.name, 0, [NewRecord(None, b"{}", (("ce_type", b"keyledger.AlertRaised"),))])
            await producer.close()
            with pytest.raises(MalformedRecord, match="offset 0: no alert"):
                await projector_of(log, store).run()
            assert await store.next_offset() == 0

    async def test_a_record_that_holds_no_alert_is_parked_and_the_others_are_stored(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            publish, producer = AlertPublisher(log), await log.producer()
            await publish([alert(1)])
            await producer.send(ALERTS.name, 0, [unreadable(2)])
            await publish([alert(3)])
            await read_up_to(4, projector_of(log, store), store)
            found = await store.newest(organization_id="org_a", operator=False, limit=10)
            (announced,) = await store.newest(organization_id="org_operator", operator=True, limit=10)
            (parked,) = (await store.parked()).values()
            assert [one.id for one in found] == [alert(3).id, alert(1).id]
            assert (announced.rule, announced.subject) == ("stream-parked", alert(2).id)
            assert (parked.stream, parked.offset, parked.reason) == (
                alert(2).id,
                1,
                "it cannot be decoded: ValidationError",
            )
            projector = projector_of(log, store)
            async with running(projector) as task:
                await until(lambda: bool(projector.parked) and projector.parked[alert(2).id].tries > 1, task)
                await store.request_retry([alert(2).id])
                await until(lambda: projector.parked[alert(2).id].tries > 2, task)
                await publish([alert(2)])  # said again, and readable
                await until(lambda: not projector.parked, task)
            assert await store.parked() == {}
            assert len(await store.newest(organization_id="org_operator", operator=True, limit=10)) == 1
            await publish.close()
            await producer.close()

    async def test_a_rebuild_tells_nothing_again_and_takes_over_while_alerts_come(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(number) for number in range(5)])
            projector = projector_of(log, store)
            with structlog.testing.capture_logs() as lines:
                async with running(projector) as task:
                    await until(lambda: projector.unready() is None, task)
                    built = await store.begin()
                    await fill(log, built, 3)
                    await store.offer(built)
                    await until(lambda: store.current.generation == built.generation, task)
                    await publish([alert(5)])
                    await until(lambda: len(lines) >= 6, task)
            assert told(lines) == [alert(n).id for n in range(6)]
            found = await store.newest(organization_id="org_a", operator=False, limit=10)
            assert [one.id for one in found] == [alert(n).id for n in (5, 4, 3, 2, 1, 0)]
            await publish.close()

    async def test_a_rebuild_that_is_deleted_while_it_takes_over_ends_nobody(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        class Deleting(AlertStore):
            """An operator deletes what was offered in the moment in which it is found."""

            found = 0

            async def successor(self) -> SqlGeneration[Alert, AlertsTable] | None:
                offered = await super().successor()
                if offered is not None:
                    self.found += 1
                    await self.discard(offered)
                return offered

        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(1)])
            await store.offer(await store.begin())
            serving = Deleting(store.engine)
            async with running(projector_of(log, serving)) as task:
                await until(lambda: serving.found > 0, task)
                await publish([alert(2)])
                async with asyncio.timeout(DEADLINE_SECONDS):
                    while len(await serving.newest(organization_id="org_a", operator=False, limit=10)) < 2:
                        await asyncio.wait({task}, timeout=0.01)
                        assert not task.done()
            await publish.close()

    async def test_a_raised_generation_tells_nothing_that_was_told(self, store: AlertStore, tmp_path: Path) -> None:
        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(number) for number in range(3)])
            await read_up_to(3, projector_of(log, store), store)
            await publish([alert(3)])
            raised = AlertStore(store.engine, generation=2)
            with structlog.testing.capture_logs() as lines:
                async with running(projector_of(log, raised)) as task:
                    await until(lambda: bool(lines), task)
            assert told(lines) == [alert(3).id]
            found = await raised.newest(organization_id="org_a", operator=False, limit=10)
            assert len(found) == 4
            await publish.close()


class TestSqlite(OnSqlite, AlertsProjected): ...


class TestPostgres(OnPostgres, AlertsProjected): ...


@pytest.mark.parametrize("title", [b'"\xff"', b"[" * 9000], ids=["no text", "no end"])
def test_what_cannot_be_read_at_all_is_parked_too(title: bytes) -> None:
    sent = alert_record(alert(1))
    value = sent.value.replace(b'"5 failed attempts from 192.0.2.1 within 10 minutes"', title)
    assert title in value
    _, (parked,) = understood([Record(ALERTS.name, 0, 7, 0, sent.key, value, sent.headers)])
    assert (parked.stream, parked.offset) == (alert(1).id, 7)
    assert "cannot be decoded" in parked.reason


@asynccontextmanager
async def alerts_log(folder: Path) -> AsyncIterator[EmbeddedLog]:
    log = await EmbeddedLog.open(folder / "log.db")
    await log.ensure_topics([ALERTS])
    try:
        yield log
    finally:
        await log.close()


def projector_of(log: EmbeddedLog, store: AlertStore) -> AlertProjector:
    return AlertProjector(log, store, clock=SystemClock())


def told(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of the alerts that have a log line."""
    return [line["alert"] for line in lines if line["event"] == "alert"]


async def caught_up(projector: AlertProjector) -> None:
    async with running(projector) as task:
        await until(lambda: projector.unready() is None, task)


async def read_up_to(offset: int, projector: AlertProjector, store: AlertStore) -> None:
    async with running(projector) as task, asyncio.timeout(DEADLINE_SECONDS):
        while await store.next_offset() != offset:
            await asyncio.wait({task}, timeout=0.01)
            assert not task.done()
